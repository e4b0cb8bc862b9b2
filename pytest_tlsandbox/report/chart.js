"use strict";
// Data appears on the page as text only: no part of it is ever read as HTML.
const $ = (id) => document.getElementById(id);
const report = JSON.parse($("data").textContent);
const {span} = report;
const chart = $("chart");
const canvas = $("canvas");
const details = $("details");

const BAD = {failed: "F", error: "E", crashed: "!"};
const LETTERS = {...BAD, skipped: "s", rerun: "R", xfailed: "x", xpassed: "X", passed: ""};
const MARKS = {
  oom: "OOM-killed",
  crash: "Crashed",
  restart: "Restarted",
  unhealthy: "Unhealthy",
  leak: "Left running",
};
const KINDS = {
  exited: "Exited with 0",
  failed: "Exited with a code other than 0",
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

function withRole(element, role) {
  element.setAttribute("role", role);
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
  `+${duration(time)}, ${new Date(report.began + time).toISOString().slice(11, 23)} UTC`;
const plural = (number, noun, more = "s") =>
  `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : more}`;

// An item is what has details: a bar, a test, or an interval without data. Its keys: id (in the
// address of the page), element, row, from, to, title, text (for the filter), and what it shows: bar,
// test or unseen.
const rows = [];
const tests = [];
const bars = []; // the bars of folded rows included
const layers = []; // bands of tests, one layer for each sandbox
const itemOf = new WeakMap();
const itemById = new Map();

function addRow(parent, className, label, list = rows) {
  const element = withRole(make("div", `row ${className}`, undefined, parent), "row");
  const head = withRole(make("div", "label", undefined, element), "rowheader");
  make("bdi", "", label, head);
  const track = withRole(make("div", "track", undefined, element), "cell");
  const row = {element, head, track, items: [], marks: []};
  list.push(row);
  return row;
}

function addItem(row, className, name, item) {
  const element = place(make("button", `item ${className}`, undefined, row.track), item.from, item.to);
  element.type = "button";
  element.tabIndex = -1;
  element.setAttribute("aria-label", name);
  element.id = item.id;
  Object.assign(item, {element, row});
  row.items.push(item);
  itemOf.set(element, item);
  itemById.set(item.id, item);
  return item;
}

function addTest(row, test, number) {
  const attempt = test.attempt > 1 ? `, attempt ${test.attempt}` : "";
  const name = `${test.id}${attempt}: ${test.outcome}, ${duration(test.to - test.from)}`;
  const {from, to, id: title} = test;
  const text = `${title} ${test.outcome}`.toLowerCase();
  const short = title.slice(title.lastIndexOf("::") + 2);
  const bad = test.outcome in BAD ? " bad" : "";
  tests.push(
    addItem(row, `test ${test.outcome}${bad}`, name, {id: `t${number}`, from, to, title, text, short, test}),
  );
}

function stateOf(bar) {
  const known = bar.begun === "sandbox" && bar.ended === "sandbox"; // both by one clock
  const lived = known ? ` after ${duration(bar.to - bar.from)}` : "";
  if (bar.kind === "oom") return `OOM-killed${lived}`;
  if (bar.kind === "gone") return "no longer listed, its end was not seen";
  return bar.state + (bar.kind === "running" ? "" : lived);
}

// A mark is a small shape at the exact time, with its text above the bars, if there is room.
function addMark(row, {at, kind, text, allowed}, item) {
  const className = `${kind}${allowed ? " allowed" : ""}`;
  const label = place(make("span", `text ${className}`, text, row.track), at);
  itemOf.set(label, item);
  if (kind in MARKS) {
    const shape = place(make("span", `mark ${className}`, undefined, row.track), at);
    itemOf.set(shape, item);
  }
  row.marks.push({label, at, text, rank: kind === "restart" ? 1 : 0});
}

function addBar(row, item) {
  const {bar, marks} = item;
  const more = marks.filter((mark) => mark.kind !== bar.kind).map((mark) => mark.text);
  const name = `${bar.name}, pid ${bar.pid}: ${[stateOf(bar), ...more].join(", ")}`;
  const ends = (bar.ended === "open" ? " open" : "") + (bar.begun === "before" ? " before" : "");
  const allowed = marks.length && marks.every((mark) => mark.allowed) ? " allowed" : "";
  addItem(row, `bar ${bar.kind}${ends}${allowed}`, name, item);
  for (const mark of marks) addMark(row, mark, item);
  const last = bar === row.data.bars.at(-1);
  const telling = ["failed", "gone", row.data.cause ? "signaled" : ""].includes(bar.kind);
  if (last && !marks.length && telling) {
    const text = bar.kind === "gone" ? "no longer listed" : bar.state;
    addMark(row, {at: bar.to, kind: "tail", text}, item);
  }
}

function itemsOf(data, sandbox) {
  return data.bars.map((bar, index) => {
    const marks = data.marks.filter((mark) => mark.bar === index);
    const wrong = data.cause || marks.some((mark) => !mark.allowed);
    const item = {
      id: `p${bars.length}`,
      from: bar.from,
      to: bar.to,
      title: `${bar.name} (pid ${bar.pid})`,
      text: [bar.name, bar.pid, bar.command, bar.state, bar.test ?? ""].join(" ").toLowerCase(),
      kinds: new Set([bar.kind, ...marks.map((mark) => mark.kind), ...(wrong ? ["wrong"] : [])]),
      bar,
      marks,
      sandbox,
    };
    bars.push(item);
    return item;
  });
}

function addProcess(parent, data, items) {
  const row = addRow(parent, data.cause ? "process cause" : "process", data.bars[0].name);
  row.data = data;
  const {name, command} = data.bars[0];
  const rest = command.startsWith(`${name} `) ? command.slice(name.length) : ` ${command}`;
  const code = make("bdi", "rest", command === name ? "" : rest.slice(0, 200), row.head);
  code.dir = "ltr";
  for (const item of items) addBar(row, item);
  row.marks.sort((a, b) => a.rank - b.rank || a.at - b.at);
  return row;
}

// Uneventful rows are folded under one line, and drawn only when they are needed.
const folds = [];
const FEW = 4;
function addFold(section, quiet) {
  const number = quiet.reduce((sum, [data]) => sum + data.bars.length, 0);
  const row = addRow(section, "fold", "", []);
  row.head.replaceChildren();
  const text = plural(number, "uneventful process", "es");
  const button = make("button", "", `\u25b8 ${text}`, row.head);
  button.type = "button";
  button.setAttribute("aria-expanded", "false");
  const rest = make("div", "folded", undefined, section);
  const fold = {
    open() {
      if (rest.childElementCount) return false;
      const added = quiet.map(([data, items]) => addProcess(rest, data, items));
      added.forEach(fitMarks);
      return true;
    },
    toggle(shown) {
      if (shown) fold.open();
      rest.hidden = !shown;
      button.textContent = `${shown ? "\u25be" : "\u25b8"} ${text}`;
      button.setAttribute("aria-expanded", String(shown));
    },
  };
  button.addEventListener("click", () => fold.toggle(button.ariaExpanded !== "true"));
  folds.push(fold);
}
const isFolded = ({element}) => !element || Boolean(element.closest(".folded")?.hidden);
const unfold = () => folds.forEach((fold) => fold.toggle(true));

function addBands(section, sandbox) {
  const alone = report.workers.length < 2 || Boolean(sandbox.worker);
  const layer = make("div", "bands", undefined, section);
  const own = (test) => !sandbox.worker || test.worker === sandbox.worker;
  report.tests.filter(own).forEach((test, index) => {
    const passed = test.outcome === "passed";
    // If several workers run tests at once, bands of passed tests would cover each other.
    if (passed && (index % 2 || !alone)) return;
    if (!passed && !(test.outcome in BAD)) return;
    place(make("div", `band ${passed ? "even" : "bad"}`, undefined, layer), test.from, test.to);
  });
  const above = make("div", "bands above", undefined, section);
  for (const {from, to} of sandbox.gaps) place(make("div", "band gap", undefined, above), from, to);
  for (const {from, to} of sandbox.outages) place(make("div", "band outage", undefined, above), from, to);
  layers.push({layer, own});
}

function addNotes(row, sandbox) {
  const notes = [
    ...sandbox.gaps.map((gap) => [gap, "Not monitored", gap.why, "not monitored"]),
    ...sandbox.outages.map((outage) => [outage, "No answer", outage.faults, `no answer: ${outage.faults}`]),
  ];
  for (const [unseen, title, why, text] of notes) {
    const {from, to} = unseen;
    const name = `${title} for ${duration(to - from)}: ${why}`;
    const item = {id: `n${itemById.size}`, from, to, title, text: why, unseen, sandbox};
    addItem(row, "note", name, item).element.textContent = text;
  }
}

const ruling = make("div", "rules", undefined, canvas);
const head = withRole(make("div", "head", undefined, canvas), "rowgroup");
const axis = addRow(head, "axis", "time since the start", []);
const lanes = new Map();
for (const worker of report.workers.length ? report.workers : [undefined]) {
  const parent = report.workers.length < 4 ? head : canvas;
  lanes.set(worker, addRow(parent, "lane", worker === undefined ? "tests" : `tests of ${worker}`));
}
report.tests.forEach((test, number) => {
  addTest(lanes.get(test.worker) ?? lanes.values().next().value, test, number);
});
for (const sandbox of report.sections) {
  const section = withRole(make("div", "sandbox", undefined, canvas), "rowgroup");
  addBands(section, sandbox);
  const title = addRow(section, "title", sandbox.name);
  if (sandbox.earlier) make("bdi", "rest", `  ${sandbox.earlier} ended before`, title.head);
  addNotes(title, sandbox);
  const all = sandbox.rows.map((data) => [data, itemsOf(data, sandbox)]);
  const quiet = all.filter(([data]) => data.quiet);
  const folded = quiet.length > FEW ? quiet : [];
  for (const [data, items] of all) {
    if (!folded.length || !data.quiet) addProcess(section, data, items);
  }
  if (folded.length) addFold(section, folded);
}
rows.forEach((row) => row.items.sort((a, b) => a.from - b.from));

// ------------------------------------------------------------- what fits where

let zoom = 1;
let width = 0; // of the whole session in pixels, at this zoom
const measure = document.createElement("canvas").getContext("2d");
measure.font = "600 11px system-ui, sans-serif";
const widths = new Map();
function widthOf(text) {
  if (!widths.has(text)) widths.set(text, measure.measureText(text).width + 12);
  return widths.get(text);
}

const MOST_STEPS = 36e5;
const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5];
function drawAxis() {
  const step = STEPS.find((candidate) => (candidate / span) * width >= 90) ?? MOST_STEPS;
  const first = Math.floor(((chart.scrollLeft / width) * span) / step) * step;
  const last = Math.min(span, ((chart.scrollLeft + inView()) / width) * span);
  // Ticks that are closer than a second are relative to a full second, which the label shows.
  const base = step < 1000 && first >= 1000 ? Math.floor(first / 1000) * 1000 : 0;
  axis.head.textContent = base ? `after ${duration(base)}` : "time since the start";
  axis.track.replaceChildren();
  ruling.replaceChildren();
  for (let time = first; time <= last; time += step) {
    const room = ((span - time) / span) * width;
    const after = base ? `+${Math.round(time - base)} ms` : duration(time);
    const text = time === base ? "0" : after;
    if (room > 40) place(make("span", "tick", text, axis.track), time);
    place(make("div", "rule", undefined, ruling), time);
  }
}

// The text of a mark is hidden if it would cover the text of a mark that matters more.
function fitMarks(row) {
  const taken = [];
  for (const {label, at, text} of row.marks) {
    const x = (at / span) * width;
    const size = widthOf(text);
    const left = x + size > width ? Math.max(0, x - size) : x;
    label.hidden = taken.some(([from, to]) => left < to && left + size > from);
    label.style.marginLeft = `${left - x}px`;
    if (!label.hidden) taken.push([left, left + size]);
  }
}

function fitTest(item) {
  const room = ((item.to - item.from) / span) * width;
  const letter = LETTERS[item.test.outcome];
  let text = "";
  if (room > 45) text = `${letter} ${item.short}`.trim();
  else if (room > 9 || item.test.outcome in BAD) text = letter;
  if (item.shownText !== text) item.element.textContent = item.shownText = text;
}

const labelWidth = () => axis.head.offsetWidth;
const inView = () => chart.clientWidth - labelWidth();
function layOut() {
  width = inView() * zoom;
  if (width <= 0) return;
  rows.forEach(fitMarks);
  tests.forEach(fitTest);
  canvas.classList.toggle("dense", width / tests.length < 4);
}
