"use strict";
// Data is put on the page as text alone: nothing of it is ever read as HTML.
const picture = JSON.parse(document.getElementById("data").textContent);
const began = performance.now();
const {span} = picture;
const $ = (id) => document.getElementById(id);
const chart = $("chart"), canvas = $("canvas"), details = $("details");

const BAD = {failed: "F", error: "E", crashed: "!"};
const LETTERS = {...BAD, skipped: "s", rerun: "R", xfailed: "x", xpassed: "X", passed: ""};
const MARKS = {oom: ["O", "OOM-killed"], crash: ["C", "Crashed"], restart: ["\u21bb", "Restarted"],
  unhealthy: ["U", "Unhealthy"], leak: ["L", "Left running"]};
const KINDS = {exited: "Exited with 0", failed: "Exited with another code", signaled: "Ended by a signal",
  oom: "OOM-killed", crash: "Crashed", running: "Its end was not seen", gone: "No longer listed, its end was not seen"};

function make(tag, className, text, parent) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  if (parent) parent.append(element);
  return element;
}

const percent = (time) => `${(100 * time) / span}%`;
function place(element, from, to) {
  element.style.left = percent(from);
  if (to !== undefined) element.style.width = percent(to - from);
  return element;
}

function duration(ms) {
  if (ms < 100) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${parseFloat((ms / 1000).toFixed(ms < 1000 ? 2 : 1))} s`;
  const minutes = Math.floor(ms / 60000), rest = Math.round((ms - minutes * 60000) / 1000);
  return rest ? `${minutes} min ${rest} s` : `${minutes} min`;
}
const moment = (time) => `+${duration(time)}, ${new Date(picture.began + time).toISOString().slice(11, 23)} UTC`;

// ------------------------------------------------------------------ rows

const rows = [];      // what the arrow keys go through: {element, items, process}
const itemOf = new WeakMap();
const tests = [], bars = [];

function addRow(parent, className, label, list = rows) {
  const element = make("div", `row ${className}`, undefined, parent);
  const head = make("div", "label", undefined, element);
  make("bdi", "", label, head);
  const row = {element, head, track: make("div", "track", undefined, element), items: [], chips: []};
  list.push(row);
  return row;
}

function addItem(row, className, from, to, name, more) {
  const element = place(make("button", `item ${className}`, undefined, row.track), from, to);
  element.type = "button";
  element.tabIndex = -1;
  element.setAttribute("aria-label", name);
  const item = {element, from, to, row, name, ...more};
  row.items.push(item);
  itemOf.set(element, item);
  return item;
}

function addTest(row, test, number) {
  const bad = test.outcome in BAD;
  const attempt = test.attempt > 1 ? `, attempt ${test.attempt}` : "";
  const name = `${test.id}${attempt}: ${test.outcome}, ${duration(test.to - test.from)}`;
  const item = addItem(row, `test ${test.outcome}${bad ? " bad" : ""}`, test.from, test.to, name, {test});
  item.element.id = `t${number}`;
  item.text = `${test.id} ${test.outcome}`.toLowerCase();
  item.short = test.id.slice(test.id.lastIndexOf("::") + 2);
  tests.push(item);
}

function addChip(row, at, kind, text, letter, item, allowed) {
  const element = place(make("span", `chip ${kind}${allowed ? " allowed" : ""}`, text, row.track), at);
  itemOf.set(element, item);
  row.chips.push({element, at, text, letter, kind, ends: kind === "oom" || kind === "crash"});
}

function stateOf(bar) {
  const lived = bar.lived === null ? "" : ` after ${duration(bar.lived)}`;
  if (bar.kind === "oom") return `OOM-killed${lived}`;
  if (bar.kind === "gone") return "no longer listed, its end was not seen";
  return bar.state + (bar.kind === "running" ? "" : lived);
}

function addProcess(section, sandbox, data) {
  const row = addRow(section, data.managed ? "process managed" : "process", data.name);
  const first = data.bars[0];
  const totals = Object.entries(data.totals).map(([kind, n]) =>
    (kind === "restart" ? MARKS[kind][0] : MARKS[kind][1]) + (n > 1 ? ` ${n}x` : ""));
  if (totals.length) make("span", data.marks.every((mark) => mark.allowed) ? "rest" : "totals", `  ${totals.join(", ")}`, row.head);
  else if (first.command !== data.name) {
    const rest = first.command.startsWith(`${data.name} `) ? first.command.slice(data.name.length) : `  ${first.command}`;
    make("bdi", "rest", rest.slice(0, 200), row.head);
  }
  const kinds = new Set(data.marks.filter((mark) => !mark.allowed).map((mark) => mark.kind));
  data.bars.forEach((bar, index) => {
    const marks = data.marks.filter((mark) => mark.bar === index);
    const last = index === data.bars.length - 1;
    const ends = bar.ended === "open" ? " open" : "";
    const name = `${bar.name}, pid ${bar.pid}: ` +
      [stateOf(bar), ...marks.filter((mark) => mark.kind !== bar.kind).map((mark) => mark.text)].join(", ");
    const item = addItem(row, `bar ${bar.kind}${ends}${bar.begun === "before" ? " before" : ""}`,
      bar.from, bar.to, name, {bar, marks, sandbox});
    item.element.id = `p${bars.length}`;
    item.text = [bar.name, bar.pid, bar.command, bar.state, bar.test ?? ""].join(" ").toLowerCase();
    item.kinds = new Set([bar.kind, ...marks.map((mark) => mark.kind), ...(kinds.size ? ["wrong"] : [])]);
    bars.push(item);
    marks.forEach((mark) => addChip(row, mark.at, mark.kind, mark.text, MARKS[mark.kind][0], item, mark.allowed));
    const tail = {failed: bar.state, signaled: bar.state, gone: "no longer listed"}[bar.kind];
    if (tail && last && !marks.length) addChip(row, bar.to, "tail", tail, null, item, false);
  });
  row.chips.sort((a, b) => a.at - b.at);
}

function addBands(section, sandbox) {
  const alone = picture.workers.length < 2 || sandbox.worker !== null;
  const layer = make("div", "bands", undefined, section);
  const own = (test) => sandbox.worker === null || test.worker === sandbox.worker;
  picture.tests.filter(own).forEach((test, index) => {
    const passed = test.outcome === "passed";
    // Of tests that several workers run at once, all that passed would be bands over bands.
    if (passed && (index % 2 || !alone)) return;
    const kind = passed ? "even" : test.outcome in BAD ? "bad" : "other";
    place(make("div", `band ${kind}`, undefined, layer), test.from, test.to);
  });
  for (const kind of ["gap", "outage"]) {
    for (const time of sandbox[`${kind}s`]) place(make("div", `band ${kind}`, undefined, layer), time.from, time.to);
  }
  layers.push({layer, own});
}

const layers = [];
const ruling = make("div", "rules", undefined, canvas);
const head = make("div", "head", undefined, canvas);
const axis = addRow(head, "axis", "time since the start", []);
const lanes = new Map();
for (const worker of picture.workers.length ? picture.workers : [null]) {
  const inHead = picture.workers.length < 4;
  lanes.set(worker, addRow(inHead ? head : canvas, "lane", worker === null ? "tests" : `tests of ${worker}`));
}
picture.tests.forEach((test, number) => {
  addTest(lanes.get(test.worker) ?? lanes.values().next().value, test, number);
});
for (const sandbox of picture.sections) {
  const section = make("div", "sandbox", undefined, canvas);
  addBands(section, sandbox);
  const title = addRow(section, "title", sandbox.name);
  for (const gap of sandbox.gaps) {
    addItem(title, "note", gap.from, gap.to, `Not watched for ${duration(gap.to - gap.from)}: ${gap.why}`,
      {gap, sandbox}).element.textContent = "not watched";
  }
  for (const outage of sandbox.outages) {
    addItem(title, "note", outage.from, outage.to, `No answer for ${duration(outage.to - outage.from)}: ${outage.faults}`,
      {outage, sandbox}).element.textContent = `no answer: ${outage.faults}`;
  }
  sandbox.rows.forEach((data) => addProcess(section, sandbox, data));
}
rows.forEach((row) => row.items.sort((a, b) => a.from - b.from));

// --------------------------------------------------------------- details

function addFact(list, name, text, className) {
  if (text === null || text === undefined || text === "") return;
  make("dt", "", name, list);
  make("dd", className, text, list);
}

function clockOf(sandbox) {
  const {offset} = sandbox;
  if (Math.abs(offset) < 100) return "by the clock of the sandbox";
  return `by the clock of the sandbox, which is ${duration(Math.abs(offset))} ${offset > 0 ? "behind" : "ahead"}`;
}

function tellBar({bar, marks, sandbox}, facts, list) {
  const begun = {before: "before the first look", sandbox: `${moment(bar.from)}, ${clockOf(sandbox)}`,
    seen: `${moment(bar.from)}, when it was first seen`}[bar.begun];
  const ended = {open: "not seen", sandbox: `${moment(bar.to)}, ${clockOf(sandbox)}`,
    seen: `${moment(bar.to)}, when it was seen`, gone: `not seen; no longer listed at ${moment(bar.to)}`}[bar.ended];
  addFact(facts, "state", stateOf(bar));
  addFact(facts, "began", begun);
  addFact(facts, "ended", ended);
  addFact(facts, "marked", marks.map((mark) => `${mark.text} at +${duration(mark.at)}`).join("; "));
  addFact(facts, "managed", bar.supervisor);
  addFact(facts, "first seen in", bar.test);
  addFact(list, "command", bar.command, "code");
  bar.findings.forEach((number) => addFact(list, "found", picture.told[number]));
  if (bar.output) {
    const {stream, lines, total} = bar.output;
    make("dt", "", stream, list);
    const part = make("dd", "", total > lines.length ? `last ${lines.length} of ${total} lines` : undefined, list);
    make("pre", "", lines.join("\n"), part);
  }
}

function tell(item) {
  details.replaceChildren();
  layers.forEach(({layer}) => layer.querySelector(".here")?.remove());
  if (!item) {
    const keys = make("p", "", "Point at a bar, or go to it with the keys: ", details);
    for (const [key, what] of [["Tab", "into the picture"], ["arrows", "from bar to bar"], ["+ \u2212 0", "zoom"],
      ["/", "filter"], ["Esc", "close"]]) {
      make("kbd", "", key, keys);
      keys.append(` ${what}  `);
    }
    keys.append("Drag on the picture to zoom in; Ctrl and the wheel zoom as well.");
    return;
  }
  make("h2", "", item.bar ? `${item.bar.name} (pid ${item.bar.pid}${item.bar.handle === null ? "" : `, handle ${item.bar.handle}`})` :
    item.test ? item.test.id : item.gap ? "Not watched" : "No answer", details);
  const columns = make("div", "columns", undefined, details);
  const list = make("dl", "", undefined, columns);
  if (item.bar) tellBar(item, list, make("dl", "", undefined, columns));
  if (item.test) {
    const {test} = item;
    addFact(list, "outcome", test.outcome + (test.attempt > 1 ? `, attempt ${test.attempt}` : ""));
    addFact(list, "took", duration(test.to - test.from));
    addFact(list, "began", moment(test.from));
    addFact(list, "worker", test.worker);
    layers.filter(({own}) => own(test)).forEach(({layer}) =>
      place(make("div", "band here", undefined, layer), test.from, test.to));
  }
  const time = item.gap ?? item.outage;
  if (time) {
    addFact(list, "sandbox", item.sandbox.name);
    addFact(list, "why", time.why ?? time.faults);
    addFact(list, "from", moment(time.from));
    addFact(list, "to", time.open ? "the end" : moment(time.to));
    addFact(list, "test", time.test);
  }
}

// ------------------------------------------------------------------ zoom

let zoom = 1, width = 0;
const most = Math.max(1, Math.min(4000, span / 50));
const measure = document.createElement("canvas").getContext("2d");
measure.font = "650 11px system-ui, sans-serif";
const widths = new Map();
function widthOf(text) {
  if (!widths.has(text)) widths.set(text, measure.measureText(text).width + 14);
  return widths.get(text);
}

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5];
function drawAxis() {
  const visible = chart.clientWidth - labelWidth();
  const step = STEPS.find((candidate) => (candidate / span) * width >= 90) ?? 72e5;
  const first = Math.floor(((chart.scrollLeft / width) * span) / step) * step;
  const last = Math.min(span, ((chart.scrollLeft + visible) / width) * span);
  axis.track.replaceChildren();
  ruling.replaceChildren();
  for (let time = first; time <= last; time += step) {
    const room = ((span - time) / span) * width;
    if (room > 40) place(make("span", "tick", time ? duration(time) : "0 s", axis.track), time);
    place(make("div", "rule", undefined, ruling), time);
  }
}

// A chip has its text where there is room for it, else its letter; what ended is told first.
function fitChips(row) {
  const x = (chip) => (chip.at / span) * width;
  const least = 17;
  row.chips.forEach((chip) => { chip.right = x(chip); chip.left = x(chip); });
  for (const first of [true, false]) {
    row.chips.forEach((chip, index) => {
      if (chip.ends !== first) return;
      const before = row.chips[index - 1], after = row.chips[index + 1];
      const low = before ? before.right : 0, full = widthOf(chip.text);
      const high = after ? Math.min(after.left, x(after)) - (after.ends ? least : 0) : width;
      const at = x(chip);
      let size = full, toLeft = false;
      if (at + full > high) {
        toLeft = chip.ends || (chip.letter !== null && at + least > width);
        if (!toLeft || at - full < low) size = least;
      }
      if (toLeft && at - size < 0) toLeft = false;
      chip.left = toLeft ? at - size : at;
      chip.right = toLeft ? at : at + size;
      chip.element.textContent = size === full ? chip.text : chip.letter ?? "";
      chip.element.hidden = size !== full && chip.letter === null;
      chip.element.classList.toggle("end", toLeft);
    });
  }
}

function fitTest(item) {
  const room = ((item.to - item.from) / span) * width;
  const letter = LETTERS[item.test.outcome];
  const text = room > 45 ? `${letter} ${item.short}`.trim() : room > 9 || item.test.outcome in BAD ? letter : "";
  if (item.shownText !== text) item.element.textContent = item.shownText = text;
}

const labelWidth = () => axis.head.offsetWidth;
function layOut() {
  width = (chart.clientWidth - labelWidth()) * zoom;
  if (width <= 0) return;
  rows.forEach((row) => row.chips.length && fitChips(row));
  tests.forEach(fitTest);
}

function zoomTo(wanted, time, x) {
  const anchor = time ?? ((chart.scrollLeft + (chart.clientWidth - labelWidth()) / 2) / width) * span;
  const at = x ?? (chart.clientWidth - labelWidth()) / 2;
  zoom = Math.min(most, Math.max(1, wanted));
  canvas.style.setProperty("--zoom", zoom);
  layOut();
  chart.scrollLeft = (anchor / span) * width - at;
  drawAxis();
}
const timeAt = (x) => ((chart.scrollLeft + x) / width) * span;
const inTrack = (event) => event.clientX - chart.getBoundingClientRect().left - labelWidth();
function zoomBy(factor) {
  const item = itemOf.get(document.activeElement);
  if (!item) return zoomTo(zoom * factor);
  const time = (item.from + item.to) / 2;
  zoomTo(zoom * factor, time, Math.min(chart.clientWidth - labelWidth(), Math.max(0, (time / span) * width - chart.scrollLeft)));
}

chart.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  zoomTo(zoom * Math.exp(-event.deltaY / 300), timeAt(inTrack(event)), inTrack(event));
}, {passive: false});

let drag = null;
chart.addEventListener("pointerdown", (event) => {
  const x = inTrack(event);
  if (event.button || event.pointerType !== "mouse" || x < 0 || itemOf.has(event.target) ||
    event.offsetX > chart.clientWidth * zoom || event.target === chart) return;
  event.preventDefault();
  drag = {from: timeAt(x), x, mark: null};
});
window.addEventListener("pointermove", (event) => {
  if (!drag) return;
  drag.to = Math.min(span, Math.max(0, timeAt(inTrack(event))));
  drag.mark ??= make("div", "pick", undefined, ruling);
  const ends = [drag.from, drag.to].sort((a, b) => a - b);
  place(drag.mark, ends[0], ends[1]);
});
window.addEventListener("pointerup", (event) => {
  if (drag?.mark && Math.abs(inTrack(event) - drag.x) > 5) {
    const [from, to] = [drag.from, drag.to].sort((a, b) => a - b);
    zoomTo(span / Math.max(to - from, 1), (from + to) / 2);
  }
  drag?.mark?.remove();
  drag = null;
});

let due = false, drawnAt = 0;
chart.addEventListener("scroll", () => {
  if (due || chart.scrollLeft === drawnAt) return;
  due = true;
  requestAnimationFrame(() => { due = false; drawnAt = chart.scrollLeft; drawAxis(); });
}, {passive: true});
new ResizeObserver(() => { layOut(); drawAxis(); }).observe(chart);

// ---------------------------------------------------------------- filter

const filter = $("filter"), status = $("status");
function addChoice(value, text, number) {
  if (number) make("option", "", `${text} (${number.toLocaleString("en")})`, status).value = value;
}
const having = (kind) => bars.filter((item) => item.kinds.has(kind)).length;
addChoice("", "all", bars.length);
addChoice("wrong", "where something went wrong", having("wrong"));
for (const [kind, [, text]] of Object.entries(MARKS)) addChoice(kind, text, having(kind));
for (const [kind, text] of Object.entries(KINDS)) if (!(kind in MARKS)) addChoice(kind, text, having(kind));

function applyFilter() {
  const text = filter.value.trim().toLowerCase();
  let shown = 0;
  for (const row of rows) {
    if (!row.items.some((item) => item.bar)) continue;
    let any = false;
    for (const item of row.items) {
      const fits = item.text.includes(text) && (!status.value || item.kinds.has(status.value));
      item.element.classList.toggle("dim", !fits);
      any ||= fits;
      shown += fits;
    }
    row.element.hidden = !any;
  }
  tests.forEach((item) => item.element.classList.toggle("dim", !item.text.includes(text)));
  $("shown").textContent = `${shown.toLocaleString("en")} of ${bars.length.toLocaleString("en")} runs`;
}
filter.addEventListener("input", applyFilter);
status.addEventListener("change", applyFilter);

// ------------------------------------------------------- pointer and keys

let current = null;
function enter(item) {
  if (current) current.element.tabIndex = -1;
  current = item;
  item.element.tabIndex = 0;
}
function go(item) {
  if (item.row.element.hidden) {
    filter.value = status.value = "";
    applyFilter();
  }
  item.element.focus();
}

function next(key) {
  const {row} = current, index = row.items.indexOf(current);
  if (key === "ArrowRight") return row.items[index + 1];
  if (key === "ArrowLeft") return row.items[index - 1];
  if (key === "Home") return row.items[0];
  if (key === "End") return row.items.at(-1);
  const step = {ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10}[key];
  if (!step) return undefined;
  const open = rows.filter((other) => other.items.length && !other.element.hidden);
  const at = open.indexOf(row) + step;
  const target = open[Math.max(0, Math.min(open.length - 1, at))];
  if (target === row) return undefined;
  const middle = (current.from + current.to) / 2;
  const away = (item) => Math.max(item.from - middle, middle - item.to, 0);
  return target.items.reduce((best, item) => (away(item) < away(best) ? item : best));
}

chart.addEventListener("focusin", (event) => {
  const item = itemOf.get(event.target);
  if (!item) return;
  enter(item);
  tell(item);
});
chart.addEventListener("pointerover", (event) => {
  const item = itemOf.get(event.target);
  if (item && !drag) tell(item);
});
chart.addEventListener("click", (event) => itemOf.get(event.target)?.element.focus());
chart.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !current) return;
  const item = next(event.key);
  if (!item && !event.key.startsWith("Arrow")) return;
  event.preventDefault();
  item?.element.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    if (event.target === filter) { filter.value = ""; applyFilter(); }
    return tell(null);
  }
  if (event.target.matches("input, select")) return;
  const action = {"/": () => filter.focus(), "+": () => zoomBy(1.6), "=": () => zoomBy(1.6), "-": () => zoomBy(1 / 1.6),
    "0": () => zoomTo(1)}[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});
$("in").addEventListener("click", () => zoomBy(1.6));
$("out").addEventListener("click", () => zoomBy(1 / 1.6));
$("fit").addEventListener("click", () => zoomTo(1));
$("theme").addEventListener("click", () => {
  const root = document.documentElement.style;
  const dark = root.colorScheme ? root.colorScheme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.colorScheme = dark ? "light" : "dark";
});

// A link to a bar or a test, from the words above or from another report, goes to it.
function follow() {
  const hash = decodeURIComponent(location.hash.slice(1));
  const item = hash.startsWith("test=") ?
    tests.findLast((other) => other.test.id === hash.slice(5)) : itemOf.get(document.getElementById(hash));
  if (item) go(item);
}
window.addEventListener("hashchange", follow);
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (link && link.hash === location.hash) follow();
});

// ---------------------------------------------------------------- legend

function explain(className, text, letter) {
  const line = make("li", "", undefined, $("legend"));
  make("span", className, letter, line);
  line.append(text);
}
for (const [kind, text] of Object.entries(KINDS)) {
  if (having(kind)) explain(`bar ${kind}${kind === "running" ? " open" : ""}`, text.toLowerCase().replace("oom", "OOM"));
}
if (bars.some((item) => item.bar.begun === "before")) explain("bar before", "began before the first look");
for (const [kind, [letter, text]] of Object.entries(MARKS)) {
  if (kind in KINDS ? false : having(kind)) explain(`chip ${kind}`, text.toLowerCase(), letter);
}
for (const outcome of new Set(picture.tests.map((test) => test.outcome))) {
  explain(`test ${outcome}${outcome in BAD ? " bad" : ""}`, `test ${outcome}`, LETTERS[outcome] || "\u00a0");
}
if (picture.sections.some((sandbox) => sandbox.gaps.length)) explain("gap", "not watched");
if (picture.sections.some((sandbox) => sandbox.outages.length)) explain("outage", "no answer");

$("timeline").hidden = false;
layOut();
drawAxis();
applyFilter();
tell(null);
const first = bars[0] ?? rows.find((row) => row.items.length)?.items[0];
if (first) enter(first);
follow();
document.documentElement.dataset.drawn = Math.round(performance.now() - began);
