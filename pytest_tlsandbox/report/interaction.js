// What the reader does with the chart: zoom, filter, select, keys, links.
// ------------------------------------------------------------------ zoom

const SHORTEST = 10; // milliseconds that fill the chart at the most
const WIDEST = 3e7; // pixels; Chromium draws nothing beyond
const most = () => Math.max(1, Math.min(span / SHORTEST, WIDEST / inView()));
const timeAt = (x) => ((chart.scrollLeft + x) / width) * span;
const inTrack = (event) => event.clientX - chart.getBoundingClientRect().left - labelWidth();

// Keeps a time where it is, or at x; without a time, the middle of what is in view.
function zoomTo(wanted, time, x) {
  const at = x ?? inView() / 2;
  const anchor = time ?? timeAt(at);
  zoom = Math.min(most(), Math.max(1, wanted));
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
const zoomToItem = ({from, to}) => zoomTo(span / (2 * Math.max(to - from, SHORTEST)), (from + to) / 2);

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
  // The event of a scrollbar has the chart itself as its target.
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

let due = false;
let drawnAt = 0;
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
// A printed page shows the whole session.
matchMedia("print").addEventListener("change", (event) => event.matches && zoomTo(1));
new ResizeObserver(() => {
  layOut();
  drawAxis();
}).observe(chart);

// ---------------------------------------------------------------- filter

const filter = $("filter");
const status = $("status");
let processes = null; // the bars of a selected test
function addChoice(value, text, number) {
  if (number) make("option", "", `${text} (${number.toLocaleString("en")})`, status).value = value;
}
const number = (kind) => bars.filter((item) => item.kinds.has(kind)).length;
addChoice("", "all", bars.length);
addChoice("wrong", "what went wrong", number("wrong"));
for (const [kind, text] of Object.entries(MARKS)) addChoice(kind, text, number(kind));
for (const [kind, text] of Object.entries(KINDS)) if (!(kind in MARKS)) addChoice(kind, text, number(kind));

function fits(item, text) {
  if (processes) return processes.has(item);
  return item.text.includes(text) && (!status.value || item.kinds.has(status.value));
}

function applyFilter() {
  const text = filter.value.trim().toLowerCase();
  const active = Boolean(text || status.value || processes);
  const shown = new Set(bars.filter((item) => fits(item, text)));
  if (active && [...shown].some(isFolded)) unfold();
  for (const row of rows) {
    if (!row.items.some((item) => item.bar)) continue;
    for (const item of row.items) item.element.classList.toggle("dim", !shown.has(item));
    row.element.hidden = !row.items.some((item) => shown.has(item));
  }
  tests.forEach((item) => item.element.classList.toggle("dim", !processes && !item.text.includes(text)));
  const runs = `${shown.size.toLocaleString("en")} of ${plural(bars.length, "run")}`;
  $("shown").textContent = shown.size || !active ? runs : `${runs}: none matches`;
  $("everything").hidden = !active;
}
function showEverything() {
  filter.value = status.value = "";
  processes = null;
  applyFilter();
}
for (const [element, event] of [
  [filter, "input"],
  [status, "change"],
]) {
  element.addEventListener(event, () => {
    processes = null;
    applyFilter();
  });
}
$("everything").addEventListener("click", () => {
  showEverything();
  zoomTo(1);
});

// ------------------------------------------------------ select, pointer, keys

let current = null; // the item that Tab enters
let pinned = null; // the item whose details stay
function enter(item) {
  if (current) current.element.tabIndex = -1;
  current = item;
  item.element.tabIndex = 0;
}

function pin(item) {
  pinned?.element.classList.remove("pinned");
  pinned = item;
  item?.element.classList.add("pinned");
  history.replaceState(null, "", item ? `#${item.id}` : location.pathname + location.search);
  show(item);
}

// Selects an item, and shows it: in the chart, in its details and in the address of the page.
function go(item) {
  if (isFolded(item)) unfold();
  if (item.test) {
    const own = processesOf(item);
    filter.value = status.value = "";
    processes = own.length ? new Set(own) : null;
    applyFilter();
  } else if (item.row.element.hidden) {
    showEverything();
  }
  zoomToItem(item);
  enter(item);
  item.element.focus({preventScroll: true});
  item.element.scrollIntoView({block: "nearest", inline: "nearest"});
  drawAxis();
  pin(item);
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
  const open = rows.filter((other) => other.items.length && other.element.checkVisibility());
  const at = open.indexOf(row) + step;
  const target = open[Math.max(0, Math.min(open.length - 1, at))];
  if (target === row) return undefined;
  const middle = (current.from + current.to) / 2;
  const away = (item) => Math.max(item.from - middle, middle - item.to, 0);
  return target.items.reduce((best, item) => (away(item) < away(best) ? item : best));
}

function preview(item) {
  if (!pinned) show(item);
}
chart.addEventListener("focusin", (event) => {
  const item = itemOf.get(event.target);
  if (!item) return;
  enter(item);
  preview(item);
});
chart.addEventListener("pointerover", (event) => {
  const item = itemOf.get(event.target);
  if (item && !drag) preview(item);
});
// Enter on a focused bar is a click, too.
chart.addEventListener("click", (event) => {
  const item = itemOf.get(event.target);
  if (!item) return;
  if (item.test) return go(item);
  item.element.focus();
  pin(item);
});
chart.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !itemOf.has(event.target)) return;
  const item = next(event.key);
  if (!item && !event.key.startsWith("Arrow")) return;
  event.preventDefault();
  item?.element.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    if (event.target === filter || processes) showEverything();
    return pin(null);
  }
  if (event.target.matches("input, select, textarea")) return;
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

// A link leads to an item: from a card, from the details, or from another report.
function follow() {
  const hash = decodeURIComponent(location.hash.slice(1));
  const item = hash.startsWith("test=")
    ? testNamed(hash.slice(5))
    : (itemById.get(hash) ?? bars[/^p\d+$/.test(hash) ? hash.slice(1) : -1]);
  if (item) go(item);
}
window.addEventListener("hashchange", follow);
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (link && link.hash === location.hash) follow();
});

$("timeline").hidden = false;
layOut();
drawAxis();
applyFilter();
explainSymbols();
const cause = document.querySelector('.causes a[href^="#t"]');
show(cause && itemById.get(cause.hash.slice(1)));
const first =
  rows.find((row) => row.items[0]?.bar)?.items[0] ?? rows.find((row) => row.items.length)?.items[0];
if (first) enter(first);
follow();
