"use strict";
// Data is put on the page as text alone: nothing of it is ever read as HTML.
const picture = JSON.parse(document.getElementById("data").textContent);
const {span} = picture;
const $ = (id) => document.getElementById(id);
const chart = $("chart");
const canvas = $("canvas");
const details = $("details");

const BAD = {failed: "F", error: "E", crashed: "!"};
const LETTERS = {...BAD, skipped: "s", rerun: "R", xfailed: "x", xpassed: "X", passed: ""};
const MARKS = {
  oom: ["OOM", "OOM-killed"],
  crash: ["C", "Crashed"],
  restart: ["\u21bb", "Restarted"],
  unhealthy: ["U", "Unhealthy"],
  leak: ["L", "Left running"],
};
const KINDS = {
  exited: "Exited with 0",
  failed: "Exited with another code",
  signaled: "Ended by a signal",
  oom: "OOM-killed",
  crash: "Crashed",
  running: "Its end was not seen",
  gone: "No longer listed, its end was not seen",
};

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
  const minutes = Math.floor(ms / 60000);
  const rest = Math.round((ms - minutes * 60000) / 1000);
  return rest ? `${minutes} min ${rest} s` : `${minutes} min`;
}
const moment = (time) =>
  `+${duration(time)}, ${new Date(picture.began + time).toISOString().slice(11, 23)} UTC`;

// ------------------------------------------------------------------ rows

// An item is what has details: a bar, a test, a time in which nothing was seen. Its keys: element,
// row, from, to, name (for a screen reader), title (of its details), and what it is made from.
const rows = [];
const tests = [];
const bars = [];
const layers = []; // of bands, one a sandbox
const itemOf = new WeakMap();

function addRow(parent, className, label, list = rows) {
  const element = make("div", `row ${className}`, undefined, parent);
  const head = make("div", "label", undefined, element);
  make("bdi", "", label, head);
  const row = {element, head, track: make("div", "track", undefined, element), items: [], chips: []};
  list.push(row);
  return row;
}

function addItem(row, className, {from, to}, name, title, made) {
  const element = place(make("button", `item ${className}`, undefined, row.track), from, to);
  element.type = "button";
  element.tabIndex = -1;
  element.setAttribute("aria-label", name);
  const item = {element, row, from, to, name, title, ...made};
  row.items.push(item);
  itemOf.set(element, item);
  return item;
}

function addTest(row, test, number) {
  const bad = test.outcome in BAD;
  const attempt = test.attempt > 1 ? `, attempt ${test.attempt}` : "";
  const name = `${test.id}${attempt}: ${test.outcome}, ${duration(test.to - test.from)}`;
  const item = addItem(row, `test ${test.outcome}${bad ? " bad" : ""}`, test, name, test.id, {test});
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
  const known = bar.begun === "sandbox" && bar.ended === "sandbox";
  const lived = known ? ` after ${duration(bar.to - bar.from)}` : "";
  if (bar.kind === "oom") return `OOM-killed${lived}`;
  if (bar.kind === "gone") return "no longer listed, its end was not seen";
  return bar.state + (bar.kind === "running" ? "" : lived);
}

// What happened to a process, or else its command line, behind its name.
function addRest(row, {bars: [{name, command}], wrong, totals}) {
  const happened = Object.entries(totals).map(([kind, times]) => {
    const [letter, text] = MARKS[kind];
    return (kind === "restart" ? letter : text) + (times > 1 ? ` ${times}x` : "");
  });
  if (happened.length) {
    make("span", wrong ? "totals" : "rest", `  ${happened.join(", ")}`, row.head);
  } else if (command !== name) {
    const rest = command.startsWith(`${name} `) ? command.slice(name.length) : `  ${command}`;
    make("bdi", "rest", rest.slice(0, 200), row.head);
  }
}

function addBar(row, bar, marks, wrong, sandbox) {
  const more = marks.filter((mark) => mark.kind !== bar.kind).map((mark) => mark.text);
  const name = `${bar.name}, pid ${bar.pid}: ${[stateOf(bar), ...more].join(", ")}`;
  const title = `${bar.name} (pid ${bar.pid}${bar.handle === null ? "" : `, handle ${bar.handle}`})`;
  const ends = (bar.ended === "open" ? " open" : "") + (bar.begun === "before" ? " before" : "");
  const item = addItem(row, `bar ${bar.kind}${ends}`, bar, name, title, {bar, marks, sandbox});
  item.element.id = `p${bars.length}`;
  item.text = [bar.name, bar.pid, bar.command, bar.state, bar.test ?? ""].join(" ").toLowerCase();
  item.kinds = new Set([bar.kind, ...marks.map((mark) => mark.kind), ...(wrong ? ["wrong"] : [])]);
  bars.push(item);
  for (const {at, kind, text, times, allowed} of marks) {
    addChip(row, at, kind, text, MARKS[kind][0] + (times > 1 ? times : ""), item, allowed);
  }
  return item;
}

function addProcess(section, sandbox, data) {
  const row = addRow(section, data.managed ? "process managed" : "process", data.bars[0].name);
  addRest(row, data);
  const items = data.bars.map((bar, index) => {
    const marks = data.marks.filter((mark) => mark.bar === index);
    return addBar(row, bar, marks, data.wrong, sandbox);
  });
  const {bar, marks} = items.at(-1);
  const tail = {failed: bar.state, signaled: bar.state, gone: "no longer listed"}[bar.kind];
  if (tail && !marks.length) addChip(row, bar.to, "tail", tail, null, items.at(-1), false);
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
  for (const {from, to} of sandbox.gaps) place(make("div", "band gap", undefined, layer), from, to);
  for (const {from, to} of sandbox.outages) place(make("div", "band outage", undefined, layer), from, to);
  layers.push({layer, own});
}

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
  if (sandbox.earlier) make("bdi", "rest", `  ${sandbox.earlier} ended before`, title.head);
  for (const gap of sandbox.gaps) {
    const name = `Not monitored for ${duration(gap.to - gap.from)}: ${gap.why}`;
    const item = addItem(title, "note", gap, name, "Not monitored", {unseen: gap, sandbox});
    item.element.textContent = "not monitored";
  }
  for (const outage of sandbox.outages) {
    const name = `No answer for ${duration(outage.to - outage.from)}: ${outage.faults}`;
    const item = addItem(title, "note", outage, name, "No answer", {unseen: outage, sandbox});
    item.element.textContent = `no answer: ${outage.faults}`;
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

function addFile(list, path) {
  make("dt", "", "output", list);
  make("a", "", path, make("dd", "", undefined, list)).href = path.split("/").map(encodeURIComponent).join("/");
}

function clockOf(sandbox) {
  const {offset} = sandbox;
  if (Math.abs(offset) < 100) return "by the clock of the sandbox";
  return `by the clock of the sandbox, which is ${duration(Math.abs(offset))} ${offset > 0 ? "behind" : "ahead"}`;
}

function tellBar({bar, marks, sandbox}, facts, list) {
  const begun = {
    before: "before the first snapshot",
    sandbox: `${moment(bar.from)}, ${clockOf(sandbox)}`,
    seen: `${moment(bar.from)}, when it was first seen`,
  }[bar.begun];
  const ended = {
    open: "not seen",
    sandbox: `${moment(bar.to)}, ${clockOf(sandbox)}`,
    seen: `${moment(bar.to)}, when it was seen`,
    gone: `not seen; no longer listed at ${moment(bar.to)}`,
  }[bar.ended];
  addFact(facts, "state", stateOf(bar));
  addFact(facts, "began", begun);
  addFact(facts, "ended", ended);
  addFact(facts, "marked", marks.map((mark) => `${mark.text} at +${duration(mark.at)}`).join("; "));
  addFact(facts, "first seen in", bar.test);
  addFact(list, "command", bar.command, "code");
  bar.findings.forEach((number) => addFact(list, "found", picture.findings[number]));
  if (bar.output) {
    const {stream, lines, total} = bar.output;
    make("dt", "", stream, list);
    const part = make("dd", "", undefined, list);
    if (total > lines.length) part.append(`last ${lines.length} of ${total} lines`);
    make("pre", "", lines.join("\n"), part);
  }
}

function tellTest({test}, list) {
  addFact(list, "outcome", test.outcome + (test.attempt > 1 ? `, attempt ${test.attempt}` : ""));
  addFact(list, "took", duration(test.to - test.from));
  addFact(list, "began", moment(test.from));
  addFact(list, "worker", test.worker);
  test.files.forEach((path) => addFile(list, path));
  for (const {layer, own} of layers) {
    if (own(test)) place(make("div", "band here", undefined, layer), test.from, test.to);
  }
}

function tellUnseen({unseen, sandbox}, list) {
  addFact(list, "sandbox", sandbox.name);
  addFact(list, "why", unseen.why ?? unseen.faults);
  addFact(list, "from", moment(unseen.from));
  addFact(list, "to", unseen.open ? "the end" : moment(unseen.to));
  addFact(list, "test", unseen.test);
}

const HELP = [
  ["Tab", "into the picture"],
  ["arrows", "from bar to bar"],
  ["+ \u2212 0", "zoom"],
  ["/", "filter"],
  ["Esc", "close"],
];
function tellKeys() {
  const line = make("p", "", "Point at a bar, or go to it with the keys: ", details);
  for (const [key, what] of HELP) {
    make("kbd", "", key, line);
    line.append(` ${what}, `);
  }
  line.append("drag on the picture to zoom in; Ctrl and the wheel zoom as well.");
}

function tell(item) {
  details.replaceChildren();
  details.classList.toggle("on", Boolean(item));
  for (const {layer} of layers) layer.querySelector(".here")?.remove();
  if (!item) return tellKeys();
  make("h2", "", item.title, details);
  const columns = make("div", "columns", undefined, details);
  const list = make("dl", "", undefined, columns);
  if (item.bar) tellBar(item, list, make("dl", "", undefined, columns));
  if (item.test) tellTest(item, list);
  if (item.unseen) tellUnseen(item, list);
}
