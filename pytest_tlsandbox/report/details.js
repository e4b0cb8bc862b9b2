// The details of one item: facts, and below them tabs with longer text.

function clockOf(sandbox) {
  const {offset} = sandbox;
  if (Math.abs(offset) < 100) return "by the clock of the sandbox";
  return `by the clock of the sandbox, which is ${duration(Math.abs(offset))} ${offset > 0 ? "behind" : "ahead"}`;
}

const testNamed = (id) => tests.findLast((item) => item.test.id === id);
const barOf = (process) => bars.find((item) => item.bar.id === process);
const failuresOf = ({bar}) => tests.filter(({test}) => test.failure && test.cause === bar.id);
const processesOf = ({test}) => bars.filter(({bar}) => bar.test === test.id || bar.id === test.cause);

// Each fact is a name, a text and perhaps the item to which its link leads.
function factsOfBar(item) {
  const {bar, marks, sandbox} = item;
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
  return [
    ["state", stateOf(bar)],
    ["began", begun],
    ["ended", ended],
    ["marked", marks.map((mark) => `${mark.text} at +${duration(mark.at)}`).join("; ")],
    ["handle", bar.handle === undefined ? "" : String(bar.handle)],
    ["first seen in", bar.test, bar.test && testNamed(bar.test)],
    ...failuresOf(item).map((test) => ["failed", test.test.id, test]),
  ];
}

function factsOfTest({test}) {
  const cause = test.cause && barOf(test.cause);
  return [
    ["outcome", test.outcome + (test.attempt > 1 ? `, attempt ${test.attempt}` : "")],
    ["cause", cause && `${cause.title}: ${stateOf(cause.bar)}`, cause],
    ["took", duration(test.to - test.from)],
    ["began", moment(test.from)],
    ["worker", test.worker],
  ];
}

function factsOfUnseen({unseen, sandbox}) {
  return [
    ["sandbox", sandbox.name],
    ["why", unseen.why ?? unseen.faults],
    ["from", moment(unseen.from)],
    ["to", unseen.open ? "the end" : moment(unseen.to)],
    ["test", unseen.test],
  ];
}

function outputOf({bar}) {
  if (!bar.output) return "";
  const {stream, lines, total} = bar.output;
  const part = total > lines.length ? `last ${lines.length} of ${plural(total, "line")}` : "";
  return [[stream, part].filter(Boolean).join(", "), ...lines].join("\n");
}

// Its first line comes first, because a traceback may be long.
const failureText = ({test}) =>
  `${test.failure.line}\n(${test.failure.phase} of ${test.id})\n\n${test.failure.lines.join("\n")}`;

function tabsOf(item) {
  if (item.test) {
    const cause = barOf(item.test.cause);
    const started = processesOf(item).map(({title, bar}) => `${title}: ${stateOf(bar)}`);
    return [
      ["Failure", item.test.failure ? failureText(item) : ""],
      ["Processes", started.join("\n")],
      ["Output", cause ? outputOf(cause) : ""],
    ];
  }
  if (!item.bar) return [];
  const history = item.bar.history.map(([at, text]) => `+${duration(at)}  ${text}`);
  return [
    ["Output", outputOf(item)],
    ["Failure", failuresOf(item).map(failureText).join("\n\n")],
    ["Findings", item.bar.findings.map((number) => report.findings[number]).join("\n")],
    ["Command", item.bar.command],
    ["History", history.join("\n")],
  ];
}

function partsOf(item) {
  const facts = item.bar ? factsOfBar(item) : item.test ? factsOfTest(item) : factsOfUnseen(item);
  return {facts: facts.filter(([, text]) => text), tabs: tabsOf(item).filter(([, text]) => text)};
}

function asMarkdown(item) {
  const {facts, tabs} = partsOf(item);
  const fence = "````";
  return [
    `### ${item.title}`,
    "",
    ...facts.map(([name, text]) => `- ${name}: ${text}`),
    ...tabs.flatMap(([name, text]) => ["", `**${name}**`, "", fence, text, fence]),
    "",
  ].join("\n");
}

async function copy(button, text) {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    const area = make("textarea", "copy", text, details);
    area.readOnly = true;
    area.setAttribute("aria-label", "Text to copy");
    area.select();
  }
}

function addButton(parent, text, action) {
  const button = make("button", "", text, parent);
  button.type = "button";
  button.addEventListener("click", () => action(button));
  return button;
}

let openTab = ""; // stays open when another item is shown
function addTabs(tabs) {
  if (!tabs.length) return;
  const list = withRole(make("div", "tabs", undefined, details), "tablist");
  const panel = withRole(make("pre", "panel", undefined, details), "tabpanel");
  panel.dir = "ltr";
  panel.tabIndex = 0;
  const buttons = tabs.map(([name]) =>
    withRole(
      addButton(list, name, () => select(name)),
      "tab",
    ),
  );
  function select(name, focus) {
    const index = Math.max(
      0,
      tabs.findIndex(([other]) => other === name),
    );
    panel.textContent = tabs[index][1];
    panel.setAttribute("aria-label", tabs[index][0]);
    buttons.forEach((button, number) => {
      button.setAttribute("aria-selected", String(number === index));
      button.tabIndex = number === index ? 0 : -1;
    });
    if (focus) buttons[index].focus();
    if (focus !== null) openTab = tabs[index][0];
  }
  list.addEventListener("keydown", (event) => {
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!step) return;
    event.preventDefault();
    const index = buttons.indexOf(document.activeElement);
    select(tabs[(index + step + tabs.length) % tabs.length][0], true);
  });
  select(openTab, null);
}

const HELP = [
  ["Tab", "into the chart"],
  ["arrows", "from bar to bar"],
  ["Enter", "keep the details"],
  ["+ \u2212 0", "zoom"],
  ["/", "filter"],
  ["Esc", "close"],
];
function showHelp() {
  const line = make("p", "keys", "Click a bar to keep its details. ", details);
  for (const [key, what] of HELP) {
    make("kbd", "", key, line);
    line.append(` ${what}  `);
  }
  make("p", "", "Drag on the chart to zoom in; Ctrl and the wheel zoom as well.", details);
}

function show(item) {
  details.replaceChildren();
  for (const {layer} of layers) layer.querySelector(".here")?.remove();
  if (!item) return showHelp();
  const {facts, tabs} = partsOf(item);
  const top = make("div", "top", undefined, details);
  make("bdi", "", item.title, make("h2", "", undefined, top));
  if (item === pinned) {
    addButton(top, "Copy as Markdown", (button) => copy(button, asMarkdown(item)));
    addButton(top, "Copy link", (button) => copy(button, location.href));
    addButton(top, "Close", () => pin(null));
  }
  const list = make("dl", "", undefined, details);
  for (const [name, text, target] of facts) {
    const pair = make("div", "", undefined, list);
    make("dt", "", name, pair);
    const value = make("dd", "", target ? undefined : text, pair);
    if (target) make("a", "", text, value).href = `#${target.id}`;
  }
  for (const path of item.test?.files ?? []) {
    const pair = make("div", "", undefined, list);
    make("dt", "", "whole output", pair);
    make("a", "", decodeURIComponent(path), make("dd", "", undefined, pair)).href = path;
  }
  addTabs(tabs);
  if (!item.test) return;
  for (const {layer, own} of layers) {
    if (own(item.test)) place(make("div", "band here", undefined, layer), item.from, item.to);
  }
}

// ---------------------------------------------------------------- legend

function explainSymbols() {
  const explain = (className, text, letter) => {
    const line = make("li", "", undefined, $("legend"));
    make("span", className, letter, line);
    line.append(text);
  };
  const having = (kind) => bars.some((item) => item.kinds.has(kind));
  for (const [kind, text] of Object.entries(KINDS)) {
    if (kind !== "exited" && having(kind))
      explain(`bar ${kind}${kind === "running" ? " open" : ""}`, text.toLowerCase().replace("oom", "OOM"));
  }
  if (bars.some(({bar}) => bar.begun === "before")) explain("bar before", "began before the first snapshot");
  for (const [kind, text] of Object.entries(MARKS))
    if (having(kind) && !(kind in KINDS)) explain(`mark ${kind}`, text.toLowerCase());
  for (const outcome of new Set(report.tests.map((test) => test.outcome))) {
    explain(
      `test ${outcome}${outcome in BAD ? " bad" : ""}`,
      `test ${outcome}`,
      LETTERS[outcome] || "\u00a0",
    );
  }
  if (report.sections.some((sandbox) => sandbox.gaps.length)) explain("gap", "not monitored");
  if (report.sections.some((sandbox) => sandbox.outages.length)) explain("outage", "no answer");
}
