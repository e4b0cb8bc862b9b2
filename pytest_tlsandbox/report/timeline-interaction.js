// What the reader does with the picture that is drawn: zoom, filter, pointer, keys.
// ------------------------------------------------------------------ zoom

let zoom = 1,
  width = 0;
const most = Math.max(1, Math.min(4000, span / 50));
const measure = document.createElement("canvas").getContext("2d");
measure.font = "650 11px system-ui, sans-serif";
const widths = new Map();
function widthOf(text) {
  if (!widths.has(text)) widths.set(text, measure.measureText(text).width + 14);
  return widths.get(text);
}

const STEPS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5,
];
function drawAxis() {
  const step = STEPS.find((candidate) => (candidate / span) * width >= 90) ?? 72e5;
  const first = Math.floor(((chart.scrollLeft / width) * span) / step) * step;
  const last = Math.min(span, ((chart.scrollLeft + inView()) / width) * span);
  axis.track.replaceChildren();
  ruling.replaceChildren();
  for (let time = first; time <= last; time += step) {
    const room = ((span - time) / span) * width;
    if (room > 40) place(make("span", "tick", time ? duration(time) : "0 s", axis.track), time);
    place(make("div", "rule", undefined, ruling), time);
  }
}

// A mark has its text where there is room for it, else its letter. Those of ends, which stand before
// their time where they must, come first; the others leave room for the letters of all.
function fitChips(row) {
  for (const chip of row.chips) {
    chip.x = (chip.at / span) * width;
    chip.least = widthOf(chip.letter ?? "");
    chip.left = chip.ends ? chip.x - chip.least : chip.x;
    chip.right = chip.ends ? chip.x : chip.x + chip.least;
  }
  for (const ends of [true, false]) {
    row.chips.forEach((chip, index) => {
      if (chip.ends === ends) fitChip(chip, row.chips[index - 1], row.chips[index + 1]);
    });
  }
}

function fitChip(chip, before, after) {
  const low = before ? before.right : 0;
  const high = after ? after.left : width;
  const {x, least} = chip;
  const full = widthOf(chip.text);
  const fits = x + full <= high;
  let toLeft = !fits && (chip.ends || (chip.letter !== null && x + least > width));
  const whole = fits || (toLeft && x - full >= low);
  const size = whole ? full : least;
  if (x - size < 0) toLeft = false;
  // Of two that happened at once, one stands after the other.
  const at = !toLeft && low - x < 40 ? Math.max(x, low) : x;
  chip.left = toLeft ? at - size : at;
  chip.right = toLeft ? at : at + size;
  chip.element.style.marginLeft = `${at - x}px`;
  chip.element.textContent = whole ? chip.text : (chip.letter ?? "");
  chip.element.hidden = !whole && chip.letter === null;
  chip.element.classList.toggle("end", toLeft);
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
  rows.forEach((row) => row.chips.length && fitChips(row));
  tests.forEach(fitTest);
  canvas.classList.toggle("dense", width / tests.length < 4);
}

const timeAt = (x) => ((chart.scrollLeft + x) / width) * span;
const inTrack = (event) => event.clientX - chart.getBoundingClientRect().left - labelWidth();
// Zooms with a time, else the middle of what is in view, kept where it is, or at x.
function zoomTo(wanted, time, x) {
  const at = x ?? inView() / 2;
  const anchor = time ?? timeAt(at);
  zoom = Math.min(most, Math.max(1, wanted));
  canvas.style.setProperty("--zoom", zoom);
  layOut();
  chart.scrollLeft = (anchor / span) * width - at;
  drawAxis();
}
function zoomBy(factor) {
  const item = itemOf.get(document.activeElement);
  if (!item) return zoomTo(zoom * factor);
  const time = (item.from + item.to) / 2;
  const x = (time / span) * width - chart.scrollLeft;
  zoomTo(zoom * factor, time, Math.min(inView(), Math.max(0, x)));
}

chart.addEventListener(
  "wheel",
  (event) => {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoomTo(zoom * Math.exp(-event.deltaY / 300), timeAt(inTrack(event)), inTrack(event));
  },
  {passive: false},
);

let drag = null;
chart.addEventListener("pointerdown", (event) => {
  const x = inTrack(event);
  // Its own target is what it scrolls with.
  const elsewhere = x < 0 || itemOf.has(event.target) || event.target === chart;
  if (event.button || event.pointerType !== "mouse" || elsewhere) return;
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

let due = false,
  drawnAt = 0;
chart.addEventListener(
  "scroll",
  () => {
    if (due || chart.scrollLeft === drawnAt) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      drawnAt = chart.scrollLeft;
      drawAxis();
    });
  },
  {passive: true},
);
// What is printed is all of the time.
matchMedia("print").addEventListener("change", (event) => event.matches && zoomTo(1));
new ResizeObserver(() => {
  layOut();
  drawAxis();
}).observe(chart);

// ---------------------------------------------------------------- filter

const filter = $("filter");
const status = $("status");
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
  const {row} = current;
  const index = row.items.indexOf(current);
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
    if (event.target === filter) {
      filter.value = "";
      applyFilter();
    }
    return tell(null);
  }
  if (event.target.matches("input, select")) return;
  const action = {
    "/": () => filter.focus(),
    "+": () => zoomBy(1.6),
    "=": () => zoomBy(1.6),
    "-": () => zoomBy(1 / 1.6),
    0: () => zoomTo(1),
  }[event.key];
  if (!action) return;
  event.preventDefault();
  action();
});
$("in").addEventListener("click", () => zoomBy(1.6));
$("out").addEventListener("click", () => zoomBy(1 / 1.6));
$("fit").addEventListener("click", () => zoomTo(1));
$("theme").addEventListener("click", () => {
  const root = document.documentElement.style;
  const dark = root.colorScheme
    ? root.colorScheme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.colorScheme = dark ? "light" : "dark";
});

// A link to a bar or a test, from the words above or from another report, goes to it.
function follow() {
  const hash = decodeURIComponent(location.hash.slice(1));
  const item = hash.startsWith("test=")
    ? tests.findLast((other) => other.test.id === hash.slice(5))
    : itemOf.get(document.getElementById(hash));
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
  if (having(kind))
    explain(`bar ${kind}${kind === "running" ? " open" : ""}`, text.toLowerCase().replace("oom", "OOM"));
}
if (bars.some((item) => item.bar.begun === "before")) explain("bar before", "began before the first snapshot");
for (const [kind, [letter, text]] of Object.entries(MARKS)) {
  if (kind in KINDS ? false : having(kind)) explain(`chip ${kind}`, text.toLowerCase(), letter);
}
for (const outcome of new Set(picture.tests.map((test) => test.outcome))) {
  explain(`test ${outcome}${outcome in BAD ? " bad" : ""}`, `test ${outcome}`, LETTERS[outcome] || "\u00a0");
}
if (picture.sections.some((sandbox) => sandbox.gaps.length)) explain("gap", "not monitored");
if (picture.sections.some((sandbox) => sandbox.outages.length)) explain("outage", "no answer");

$("timeline").hidden = false;
layOut();
drawAxis();
applyFilter();
tell(null);
const first = bars[0] ?? rows.find((row) => row.items.length)?.items[0];
if (first) enter(first);
follow();
