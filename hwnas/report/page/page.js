"use strict";
// Draws the page from the data in it. A place is [x, y] in the units of the axes, a spot is [x, y] in pixels.
const data = JSON.parse(document.getElementById("data").textContent);
const { columns, devices, front, layers, links, networks } = data;
const columnOf = Object.fromEntries(columns.map((column) => [column.name, column]));
const objectives = columns.filter((column) => column.is_objective).length;
const LETTERS = ["A", "B"];
const REACH = 30; // pixels from the pointer within which a network is pointed at
const state = { x: data.axes[0], y: data.axes[1], pins: [], near: null, device: 0, spots: [] };

// ---- elements and words

const byId = (id) => document.getElementById(id);
const make = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);
const shape = (tag, attributes, ...children) => filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) if (value !== null && value !== undefined) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : ".");
const list = (lines) => make("ul", {}, ...lines.map((line) => make("li", {}, line)));

function say(value, digits = 4) {
  if (value === null || value === undefined || value === "") return "";
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en");
  const rounded = Number(value.toPrecision(digits));
  return Math.abs(rounded) >= 1e5 ? rounded.toLocaleString("en") : String(rounded);
}

const isFront = (number) => number < front.length;
const deviceOf = (column) => devices.findIndex((device) => device.latency === column.name);
const withUnit = (value, column) => (value === null ? "not known" : `${say(value)}${column.unit ? ` ${column.unit}` : ""}`);

function valueOf(column, number) {
  const value = networks.values[column.name][number];
  return value === null ? null : value * column.factor;
}

function nameOf(number) {
  const name = isFront(number) && front[number].name;
  return networks.ids[number] + (name ? ` (${name})` : "");
}

function linesOf(number) {
  if (isFront(number)) return front[number].words;
  const known = columns.map((column) => `${column.label.replace(/ \([^)]*\)$/, "")}: ${withUnit(valueOf(column, number), column)}`);
  return ["not on the front; weights of the search", ...known];
}

function intervalOf(at, number) {
  return networks.intervals[at].map((share) => share * networks.predicted[at][number]);
}

// ---- axes

function scaleOf(axis, from, to) {
  const by = axis.ticks.length ? Math.log : (value) => value;
  const [low, high] = axis.ends.map(by);
  return (value) => from + ((by(value) - low) / (high - low)) * (to - from);
}

function ticksOf(axis, most) {
  if (axis.ticks.length) return axis.ticks.filter((_, number) => number % Math.ceil(axis.ticks.length / most) === 0);
  const [low, high] = axis.ends;
  const raw = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  const ticks = [];
  for (let tick = Math.ceil(low / step); tick * step <= high; tick++) ticks.push([tick * step, say(tick * step)]);
  return ticks;
}

const short = (text) => { // thousands and millions, as an axis has them
  const value = Number(text.replaceAll(",", ""));
  for (const [size, prefix] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) if (Math.abs(value) >= size) return `${say(value / size)}${prefix}`;
  return text;
};

function frame(svg, width, height, x, y) {
  const box = { left: 52, right: width - 14, top: 30, bottom: height - 40 };
  const at = { ...box, x: scaleOf(x, box.left, box.right), y: scaleOf(y, box.bottom, box.top) };
  for (const [tick, text] of ticksOf(x, Math.max(3, Math.floor(width / 90)))) {
    svg.append(shape("line", { class: "grid", x1: at.x(tick), x2: at.x(tick), y1: box.top, y2: box.bottom }));
    svg.append(shape("text", { class: "tick", x: at.x(tick), y: box.bottom + 16, "text-anchor": "middle" }, short(text)));
  }
  for (const [tick, text] of ticksOf(y, Math.max(3, Math.floor(height / 60)))) {
    svg.append(shape("line", { class: "grid", x1: box.left, x2: box.right, y1: at.y(tick), y2: at.y(tick) }));
    svg.append(shape("text", { class: "tick", x: box.left - 6, y: at.y(tick) + 4, "text-anchor": "end" }, short(text)));
  }
  svg.append(shape("path", { class: "frame", fill: "none", d: `M${box.left} ${box.top}V${box.bottom}H${box.right}` }));
  svg.append(shape("text", { x: box.right, y: height - 6, "text-anchor": "end" }, x.label));
  svg.append(shape("text", { x: 2, y: 14 }, y.label));
  return at;
}

const path = (spots) => (spots.length ? `M${spots.map((spot) => spot.join(" ")).join("L")}` : "");
const across = ([x, y], size) => `M${x - size} ${y - size}L${x + size} ${y + size}M${x - size} ${y + size}L${x + size} ${y - size}`;

// ---- the front

function stairs(x, y) {
  const better = (column) => (a, b) => (column.highest ? b - a : a - b);
  const places = front.map((_, number) => [valueOf(x, number), valueOf(y, number), number]).filter(([a, b]) => a !== null && b !== null);
  places.sort((one, other) => better(x)(one[0], other[0]) || better(y)(one[1], other[1]));
  const kept = [];
  for (const place of places) if (!kept.length || better(y)(place[1], kept[kept.length - 1][1]) < 0) kept.push(place);
  const corners = kept.flatMap(([a, b], number) => (number ? [[a, kept[number - 1][1]], [a, b]] : [[a, b]]));
  return { corners, kept: new Set(kept.map((place) => place[2])) };
}

function drawFront() {
  drawLegend();
  const chart = byId("chart"), [canvas, svg] = chart.children;
  const width = chart.clientWidth, height = chart.clientHeight;
  const x = columnOf[state.x], y = columnOf[state.y];
  svg.replaceChildren();
  const at = frame(svg, width, height, x, y);
  state.spots = networks.ids.map((_, number) => {
    const place = [valueOf(x, number), valueOf(y, number)];
    return place.includes(null) ? null : [at.x(place[0]), at.y(place[1])];
  });
  drawEvaluated(canvas, width, height);
  drawBudgets(svg, at, x, true);
  drawBudgets(svg, at, y, false);
  const { corners, kept } = stairs(x, y);
  svg.append(shape("path", { class: "stairs", d: path(corners.map((place) => [at.x(place[0]), at.y(place[1])])) }));
  front.forEach((_, number) => drawBehind(svg, at, x, y, number));
  front.forEach((_, number) => drawPoint(svg, number, kept.has(number) || objectives < 3));
  svg.append(shape("g", { id: "over" }));
  drawOver();
}

function drawEvaluated(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.globalAlpha = 0.65;
  pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--evaluated");
  const radius = networks.ids.length > 1500 ? 2 : 3;
  for (let number = front.length; number < state.spots.length; number++) {
    if (!state.spots[number]) continue;
    pen.beginPath();
    pen.arc(...state.spots[number], radius, 0, 2 * Math.PI);
    pen.fill();
  }
}

function drawBudgets(svg, at, column, onX) {
  column.budgets.forEach((budget, number) => {
    const spot = onX ? at.x(budget) : at.y(budget);
    const ends = onX ? { x1: spot, x2: spot, y1: at.top, y2: at.bottom } : { x1: at.left, x2: at.right, y1: spot, y2: spot };
    svg.append(shape("line", { class: "budget", ...ends }));
    if (number < column.budgets.length - 1) return;
    const words = onX ? { x: Math.min(spot + 4, at.right), y: at.top - 6, "text-anchor": "end" } : { x: at.right, y: spot - 5, "text-anchor": "end" };
    svg.append(shape("text", { class: "budget", ...words }, column.budget_label));
  });
}

function drawBehind(svg, at, x, y, number) {
  const spot = state.spots[number];
  if (!spot) return;
  const before = [x, y].map((column) => front[number].cells[`${column.name}_val_before`]);
  if (before.some((value) => value !== undefined && value !== null && value !== "")) {
    const [a, b] = [x, y].map((column, axis) => (before[axis] === undefined ? valueOf(column, number) : before[axis] * column.factor));
    svg.append(shape("circle", { class: "before", cx: at.x(a), cy: at.y(b), r: 3.5 }));
  }
  [x, y].forEach((column, axis) => {
    if (!column.is_latency) return;
    const device = deviceOf(column), scale = axis ? at.y : at.x;
    const [low, high] = intervalOf(device, number).map(scale), middle = scale(networks.predicted[device][number]);
    const ends = axis ? { x1: spot[0], x2: spot[0], y1: low, y2: high } : { x1: low, x2: high, y1: spot[1], y2: spot[1] };
    svg.append(shape("line", { class: "interval", ...ends }));
    if (networks.measured[device][number]) svg.append(shape("circle", { class: "ring", cx: axis ? spot[0] : middle, cy: axis ? middle : spot[1], r: 4 }));
  });
}

function drawPoint(svg, number, isKept) {
  const spot = state.spots[number];
  if (!spot) return;
  const size = isKept ? 6.5 : 4;
  const mark = front[number].within_budget
    ? shape("circle", { class: "dot", cx: spot[0], cy: spot[1], r: size })
    : shape("path", { class: "cross", d: across(spot, size - 1) });
  const words = `${nameOf(number)}. ${front[number].words.join(". ")}`;
  const attributes = { class: "point", tabindex: 0, role: "button", "aria-label": words, "aria-pressed": "false", "data-number": number };
  const point = shape("g", attributes, shape("circle", { class: "hit", cx: spot[0], cy: spot[1], r: 12 }), mark);
  point.addEventListener("focus", () => pointAt(number));
  point.addEventListener("blur", () => pointAt(null));
  point.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    pin(number);
  });
  svg.append(point);
}

function drawOver() {
  const over = byId("over");
  over.replaceChildren();
  const near = state.near !== null && state.spots[state.near];
  if (near) over.append(shape("circle", { class: "halo", cx: near[0], cy: near[1], r: 10 }));
  state.pins.forEach((number, letter) => {
    const spot = state.spots[number];
    if (!spot) return;
    const [x, y] = [spot[0], spot[1] - 19];
    over.append(shape("circle", { class: "halo", cx: spot[0], cy: spot[1], r: 9 }));
    over.append(shape("g", { class: "pin" }, shape("circle", { cx: x, cy: y, r: 9 }), shape("text", { x, y: y + 4 }, LETTERS[letter])));
  });
  for (const point of document.querySelectorAll(".point")) point.setAttribute("aria-pressed", String(state.pins.includes(Number(point.dataset.number))));
}

function nearest(x, y) {
  let found = null, least = REACH;
  state.spots.forEach((spot, number) => {
    if (!spot) return;
    const apart = Math.hypot(spot[0] - x, spot[1] - y) * (isFront(number) ? 0.6 : 1);
    if (apart < least) [found, least] = [number, apart];
  });
  return found;
}

function pointAt(number) {
  if (number === state.near) return;
  state.near = number;
  drawOver();
  const tip = byId("tip"), spot = number === null ? null : state.spots[number];
  tip.hidden = !spot;
  if (!spot) return;
  tip.replaceChildren(make("b", {}, nameOf(number)), ...linesOf(number).map((line) => make("span", {}, line)));
  const chart = byId("chart"), right = spot[0] + 18 + tip.offsetWidth;
  tip.style.left = `${Math.max(0, right > chart.clientWidth ? spot[0] - 18 - tip.offsetWidth : spot[0] + 18)}px`;
  tip.style.top = `${Math.max(0, Math.min(spot[1] - 20, chart.clientHeight - tip.offsetHeight))}px`;
}

function pin(number) {
  if (state.pins.includes(number)) state.pins = state.pins.filter((pinned) => pinned !== number);
  else state.pins = [...state.pins.slice(0, LETTERS.length - 1), number];
  drawOver();
  drawCompared();
}

function setPins(numbers) {
  state.pins = numbers;
  drawOver();
  drawCompared();
}

function drawLegend() {
  const timed = networks.measured.some((measured) => Object.keys(measured).length);
  const timing = ["x", "y"].some((axis) => columnOf[state[axis]].is_latency);
  const marks = [
    [shape("circle", { class: "dot", cx: 8, cy: 8, r: 6 }), `front${timing ? data.latency_kind : ""}`],
    [shape("circle", { class: "evaluated", cx: 8, cy: 8, r: 3 }), `evaluated: ${say(data.evaluations)}${timing ? ", at predicted latency" : ""}`],
    [shape("path", { class: "interval", d: "M1 8H15" }), "interval of the prediction"],
  ];
  if (objectives > 2) marks.push([shape("circle", { class: "dot", cx: 8, cy: 8, r: 4 }), "front, beaten in these two axes"]);
  if (timed) marks.push([shape("circle", { class: "ring", cx: 8, cy: 8, r: 4 }), "prediction"]);
  if (front.some((point) => !point.within_budget)) marks.push([shape("path", { class: "cross", d: across([8, 8], 5) }), "front, over budget"]);
  if (columns.some((column) => column.budgets.length)) marks.push([shape("path", { class: "budget", d: "M0 8H16" }), "budget"]);
  if (Object.keys(front[0].cells).some((name) => name.endsWith("_val_before"))) marks.push([shape("circle", { class: "before", cx: 8, cy: 8, r: 4 }), "before final training"]);
  byId("legend").replaceChildren(...marks.map(([mark, words]) => make("li", {}, shape("svg", { width: 16, height: 16, "aria-hidden": "true" }, mark), words)));
}

// ---- two networks side by side

const letter = (at) => make("span", { class: `letter ${LETTERS[at].toLowerCase()}` }, LETTERS[at]);

function drawCompared() {
  const into = byId("compared");
  if (!state.pins.length) {
    const ends = ["fastest", "best"].map((name) => front.findIndex((point) => point.name === name)).filter((number) => number >= 0);
    const button = make("button", { type: "button" }, "Compare the fastest and the best");
    button.addEventListener("click", () => setPins([...new Set(ends)]));
    into.replaceChildren(make("p", {}, "No network is pinned."), ...(new Set(ends).size === 2 ? [button] : []));
    return;
  }
  const parts = [heads(), facts()];
  if (devices.length) parts.push(make("h3", {}, "Predicted against measured"), ...devices.map((_, at) => latencyStrip(at)));
  if (layers.length) parts.push(...stageBlocks(), ...layerBars());
  else parts.push(make("p", { class: "note" }, "The prediction of this run cannot be told layer by layer."));
  parts.push(differences());
  into.replaceChildren(...parts);
}

function heads() {
  return make("div", { class: "pair" }, ...state.pins.map((number, at) => {
    const remove = make("button", { type: "button", "aria-label": `Remove pin ${LETTERS[at]}` }, "Remove");
    remove.addEventListener("click", () => pin(number));
    return make("div", {}, letter(at), " ", make("b", {}, nameOf(number)), " ", remove, list(linesOf(number)));
  }));
}

function facts() {
  const rows = columns.map((column) => [column.label, state.pins.map((number) => valueOf(column, number)), column.unit === "%"]);
  for (const column of columns) {
    const tests = state.pins.map((number) => (isFront(number) ? front[number].cells[`${column.name}_test`] ?? null : null));
    if (tests.some((value) => value !== null)) rows.push([column.label.replace("validation", "test"), tests.map((value) => value && value * column.factor), column.unit === "%"]);
  }
  const head = make("tr", {}, make("th"), ...state.pins.map((_, at) => make("th", {}, LETTERS[at])), ...(state.pins.length === 2 ? [make("th", {}, "B against A")] : []));
  return make("div", { class: "scroll" }, make("table", { id: "facts" }, head, ...rows.map(([label, values, isShare]) =>
    make("tr", {}, make("td", {}, label), ...values.map((value) => make("td", {}, value === null ? "–" : say(value))), ...(values.length === 2 ? [make("td", {}, against(values, isShare))] : [])))));
}

function against([a, b], isShare) {
  if (a === null || b === null) return "–";
  const signed = (value, digits) => `${value > 0 ? "+" : ""}${value.toFixed(digits)}`;
  if (isShare) return `${signed(b - a, 2)} points`;
  return a ? `${signed(100 * (b / a - 1), 1)} %` : "–";
}

function latencyStrip(at) {
  const device = devices[at], budgets = columnOf[device.latency].budgets;
  const ends = state.pins.flatMap((number) => [...intervalOf(at, number), ...(networks.measured[at][number] ?? []), ...(isFront(number) ? budgets : [])]);
  const low = Math.min(...ends), high = Math.max(...ends);
  const width = Math.min(640, byId("compare").clientWidth), scale = scaleOf({ ticks: [], ends: [low, high === low ? low + 1 : high] }, 30, width - 10);
  const height = 30 * state.pins.length + 8;
  const svg = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, style: "max-width:100%", role: "img", "aria-label": `Predicted against measured latency on ${device.device}` });
  for (const budget of budgets) if (budget >= low && budget <= high) svg.append(shape("line", { class: "budget", x1: scale(budget), x2: scale(budget), y1: 0, y2: height }));
  const words = state.pins.map((number, row) => {
    const y = 18 + 30 * row, [from, to] = intervalOf(at, number), predicted = networks.predicted[at][number], measured = networks.measured[at][number];
    svg.append(shape("text", { x: 4, y: y + 4 }, LETTERS[row]));
    svg.append(shape("line", { class: "interval", x1: scale(from), x2: scale(to), y1: y, y2: y }), shape("circle", { class: "ring", cx: scale(predicted), cy: y, r: 5 }));
    if (measured) svg.append(shape("path", { class: "dot", d: `M${scale(measured[0])} ${y - 7}l7 7l-7 7l-7 -7Z` }));
    const first = `${LETTERS[row]}: predicted ${say(predicted)} ms (${say(from)} to ${say(to)})`;
    if (!measured) return `${first}; not measured`;
    return `${first}; measured ${say(measured[0])} ms (p10; median ${say(measured[1])}, p90 ${say(measured[2])}), so the prediction is ${say(100 * Math.abs(predicted / measured[0] - 1), 2)} % too ${predicted < measured[0] ? "low" : "high"}`;
  });
  const key = `${device.device}: ring and line are the prediction and its interval, a diamond is the measurement${budgets.length ? ", dashes are the budget" : ""}.`;
  return make("div", {}, make("p", { class: "note" }, key), svg, list(words));
}

const alternativeOf = (layer, number) => layer.alternatives[layer.numbers[number]];
const timeOf = (layer, number) => alternativeOf(layer, number).latencies_ms[devices[state.device].latency];
const isThere = (layer, number) => alternativeOf(layer, number).words !== "" || Object.values(alternativeOf(layer, number).latencies_ms).some((value) => value !== 0);

function stageBlocks() {
  const rows = [];
  for (const [stage, inside] of grouped(layers.filter((layer) => layer.is_place))) {
    if (!inside.some((layer) => state.pins.some((number) => isThere(layer, number)))) continue;
    const lines = state.pins.map((number, at) => make("div", { class: "blocks" }, letter(at), ...inside.filter((layer) => isThere(layer, number)).map((layer) => block(layer, number, at))));
    rows.push(make("div", { class: "stage" }, make("b", {}, stage), make("div", {}, ...lines)));
  }
  const note = state.pins.length === 2 ? [make("p", { class: "note" }, "Bold blocks differ between A and B.")] : [];
  return [make("h3", {}, "Stages"), ...note, make("div", { id: "stages" }, ...rows)];
}

const stageOf = (layer) => layer.name.split(".")[0];

function grouped(items) {
  const groups = new Map();
  for (const item of items) groups.set(stageOf(item), [...(groups.get(stageOf(item)) ?? []), item]);
  return groups;
}

function block(layer, number, at) {
  const others = state.pins.filter((other) => other !== number);
  const differs = others.some((other) => alternativeOf(layer, other).words !== alternativeOf(layer, number).words);
  const name = layer.name.split(".").slice(1).join(" ") || layer.name;
  return make("div", { class: `block ${LETTERS[at].toLowerCase()}${differs ? " differs" : ""}` }, alternativeOf(layer, number).words || name, make("small", {}, `${name}, ${say(timeOf(layer, number), 3)} ms`));
}

function layerBars() {
  const shown = layers.filter((layer) => state.pins.some((number) => timeOf(layer, number)));
  const most = Math.max(...shown.flatMap((layer) => state.pins.map((number) => Math.abs(timeOf(layer, number)))));
  const bars = make("div", { class: "bars", id: "bars" });
  for (const layer of shown) {
    bars.append(make("span", { class: state.pins.length === 2 ? "name" : "name alone" }, (layer.is_place ? layer.name : `correction: ${layer.name}`).replaceAll(".", ".\u200b")));
    state.pins.forEach((number, at) => {
      const time = timeOf(layer, number);
      bars.append(make("span", { class: `bar ${LETTERS[at].toLowerCase()}`, style: `width:${(100 * Math.abs(time)) / most}%` }), make("span", {}, `${LETTERS[at]} ${say(time, 3)} ms`));
    });
  }
  return [make("h3", {}, `Milliseconds by layer, as predicted for ${devices[state.device].device}`), ...(devices.length > 1 ? [deviceChoice()] : []), bars];
}

function deviceChoice() {
  const select = make("select", {}, ...devices.map((device, at) => make("option", { value: at, ...(at === state.device ? { selected: "" } : {}) }, device.device)));
  select.addEventListener("change", () => {
    state.device = Number(select.value);
    drawCompared();
  });
  return make("label", {}, "Device ", select);
}

function differences() {
  const optionOf = (choice, at, number) => choice.options[networks.archs[number].charCodeAt(at) - 48];
  const rows = networks.choices.map((choice, at) => [choice.name, ...state.pins.map((number) => JSON.stringify(optionOf(choice, at, number)))]);
  const shown = state.pins.length === 2 ? rows.filter(([, a, b]) => a !== b) : rows;
  const words = state.pins.length === 2 ? `${shown.length} of ${rows.length} choices differ` : `All ${rows.length} choices`;
  const head = make("tr", {}, make("th", {}, "choice"), ...state.pins.map((_, at) => make("th", {}, LETTERS[at])));
  const table = make("table", {}, head, ...shown.map((cells) => make("tr", {}, ...cells.map((cell) => make("td", {}, cell)))));
  return make("details", {}, make("summary", {}, words), make("div", { class: "scroll" }, table));
}

// ---- tables and words

function drawTable() {
  const hidden = /^(arch_id|interval_|within_noise|stages|device|onnx)/;
  const names = Object.keys(front[0].cells).filter((name) => !hidden.test(name) && front.some((point) => say(point.cells[name]) !== ""));
  const head = make("tr", {}, ...["network", "model", ...names.map((name) => name.replaceAll("_", " "))].map((name) => make("th", { scope: "col" }, name)));
  const rows = front.map((point, number) => {
    const button = make("button", { type: "button", title: "Pin" }, nameOf(number));
    button.addEventListener("click", () => pin(number));
    const cells = names.map((name) => make("td", { "data-column": name, "data-value": JSON.stringify(point.cells[name] ?? null) }, say(point.cells[name])));
    const models = Object.entries(point.cells).filter(([name, file]) => name.split("@")[0] === "onnx" && file);
    const files = models.map(([name, file]) => link(file, `ONNX${name.slice(4).replace("@", " for ")}`));
    return make("tr", { "data-id": networks.ids[number] }, make("td", {}, button), make("td", {}, ...files), ...cells);
  });
  byId("rows").append(make("thead", {}, head), make("tbody", {}, ...rows));
}

function link(file, words) {
  return links[file] ? make("a", { href: links[file] }, words) : make("span", { title: file }, `${words} (not here)`);
}

function drawDevices() {
  const grades = { good: "✓ good", fair: "~ fair", poor: "✗ poor", unknown: "? not measured" };
  devices.forEach((device, at) => {
    const conditions = Object.entries(device.conditions).map(([name, value]) => `${name} ${value}`).join(" · ");
    const grade = make("span", { class: `grade ${device.grade}` }, grades[device.grade]);
    const part = make("div", { class: "device" }, make("h3", {}, device.device, " ", grade), make("p", {}, device.verdict), make("p", { class: "note" }, conditions), list(device.reasons));
    byId("devices").append(part);
    if (front.some((_, number) => networks.measured[at][number])) part.append(scatter(at));
  });
}

function scatter(at) {
  const places = front.map((_, number) => number).filter((number) => networks.measured[at][number]);
  const ends = places.flatMap((number) => [networks.measured[at][number][0], ...intervalOf(at, number)]);
  const [least, most] = [Math.min(...ends), Math.max(...ends)], margin = 0.06 * (most - least) || 1;
  const axis = (label) => ({ label, ticks: [], ends: [Math.max(0, least - margin), most + margin] });
  const svg = shape("svg", { width: 340, height: 320, viewBox: "0 0 340 320", style: "max-width:100%", role: "img", "aria-label": "Predicted against measured latency of the front" });
  const [x, y] = [axis("measured p10 (ms)"), axis("predicted (ms); the line is equality")], spots = frame(svg, 340, 320, x, y);
  svg.append(shape("line", { class: "zero", x1: spots.x(x.ends[0]), y1: spots.y(x.ends[0]), x2: spots.x(x.ends[1]), y2: spots.y(x.ends[1]) }));
  for (const number of places) {
    const left = spots.x(networks.measured[at][number][0]), [low, high] = intervalOf(at, number).map(spots.y);
    svg.append(shape("line", { class: "interval", x1: left, x2: left, y1: low, y2: high }));
    svg.append(shape("circle", { class: "ring", cx: left, cy: spots.y(networks.predicted[at][number]), r: 4 }, shape("title", {}, nameOf(number))));
  }
  return svg;
}

function drawEffects() {
  const { importance } = data, into = byId("effects");
  if (!importance.choice) return into.append(make("p", {}, "Not known: too few networks were evaluated to tell options apart, or the space has no layers that choices decide."));
  into.append(make("p", { class: "note" }, `An effect is the difference from the mean of the choice's options. ${(data.notes.importance ?? []).map(sentence).join(" ")}`));
  const [metric, deviation, ...times] = Object.keys(importance).filter((name) => name !== "choice" && name !== "option");
  const charts = [effectBars(importance, metric, importance[deviation]), ...times.map((name) => effectBars(importance, name, null))];
  into.append(make("div", { class: "pair" }, ...charts));
}

function effectBars(importance, name, deviations) {
  const values = importance[name], bound = Math.max(...values.map((value, row) => Math.abs(value) + 2 * (deviations?.[row] ?? 0))) || 1;
  const choices = new Set(importance.choice).size, height = 17 * values.length + 24 * choices + 8;
  const svg = shape("svg", { viewBox: `0 0 360 ${height}`, width: "100%", role: "img", "aria-label": `Effects of options on ${name}` });
  const scale = scaleOf({ ticks: [], ends: [-bound, bound] }, 50, 300), zero = scale(0);
  let y = 0;
  values.forEach((value, row) => {
    if (importance.choice[row] !== importance.choice[row - 1]) {
      y += 24;
      svg.append(shape("text", { x: 0, y: y - 4, "font-weight": 600 }, importance.choice[row]));
    }
    svg.append(shape("text", { class: "tick", x: 44, y: y + 12, "text-anchor": "end" }, say(importance.option[row])));
    svg.append(shape("rect", { class: deviations ? "metric" : "latency", x: Math.min(zero, scale(value)), y: y + 2, width: Math.abs(scale(value) - zero), height: 12 }));
    if (deviations) svg.append(shape("line", { class: "error", x1: scale(value - 2 * deviations[row]), x2: scale(value + 2 * deviations[row]), y1: y + 8, y2: y + 8 }));
    svg.append(shape("text", { class: "tick", x: 306, y: y + 12 }, Math.abs(value) < bound / 200 ? "≈ 0" : `${value > 0 ? "+" : ""}${say(value, 2)}`));
    y += 17;
  });
  svg.append(shape("line", { class: "zero", x1: zero, x2: zero, y1: 20, y2: height }));
  const words = deviations ? `${name}; lines are two deviations` : `${name.replace("_ms", " (ms)")}, as predicted`;
  return make("div", {}, make("h3", {}, words), svg);
}

function drawProgress() {
  const into = byId("curves"), { best, metric } = data.history, { hypervolume } = data;
  if (best.length) {
    const [number, value] = best[best.length - 1];
    into.append(make("p", {}, `The best ${metric}, ${say(value)}, was found by evaluation ${say(number)} of ${say(data.evaluations)}, with the weights of the search.`));
  }
  if (hypervolume.evaluations) {
    const key = hypervolume.random_low ? "The line is this search; dashes and band are random search, as a fit predicts it." : "The line is this search.";
    into.append(curve(hypervolume.evaluations, hypervolume.evaluated, "hypervolume (share)", hypervolume), make("p", { class: "note" }, key), list((data.notes.hypervolume ?? []).map(sentence)));
  }
  if (!hypervolume.evaluations && best.length > 1) into.append(curve(...steps(best), `best ${metric} so far`, {}));
}

function steps(best) { // the best so far stays the best until the next one
  const counts = best.flatMap(([number], at) => (at ? [number, number] : [number])), values = best.flatMap(([, value], at) => (at ? [best[at - 1][1], value] : [value]));
  return [[...counts, data.evaluations], [...values, values[values.length - 1]]];
}

function curve(counts, values, label, { random_low: low, random_high: high, random_mean: mean }) {
  const all = [...values, ...(low ?? []), ...(high ?? [])], [least, most] = [Math.min(...all), Math.max(...all)];
  const x = { label: "evaluations", ticks: [], ends: [0, Math.max(...counts)] }, y = { label, ticks: [], ends: [low || least >= 0 && most <= 1 ? 0 : least, most * 1.04 || 1] };
  const width = Math.min(640, byId("curves").clientWidth), height = 300;
  const svg = shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, style: "max-width:100%", role: "img", "aria-label": `${label} against evaluations` });
  const at = frame(svg, width, height, x, y), spots = (heights) => counts.map((count, number) => [at.x(count), at.y(heights[number])]);
  if (low) {
    svg.append(shape("path", { class: "band", d: path([...spots(low), ...spots(high).reverse()]) }), shape("path", { class: "random", d: path(spots(mean)) }));
  }
  svg.append(shape("path", { class: "curve", d: path(spots(values)) }));
  return svg;
}

function drawCard() {
  const rows = data.card.map((criterion) => make("tr", {}, make("td", {}, make("b", {}, `${criterion.known ? "●" : "○"} ${criterion.name}`)), make("td", {}, criterion.words)));
  byId("criteria").append(make("p", { class: "note" }, "The ten criteria of a survey of automated deep learning (Dong et al. 2021). ● is known, ○ is not."), make("table", { class: "words" }, ...rows));
}

function drawReproduce() {
  const { command, versions, stages, seed, started, space, data: digest } = data.reproduce;
  const told = (values) => Object.entries(values).map(([name, value]) => `${name} ${value}`).join(", ");
  const lines = [`Seed ${seed}; started ${started}.`, `Versions: ${told(versions)}.`, `Space ${space}, data ${digest || "without a digest"}: equal fingerprints are equal spaces and data.`, `Times: ${told(stages)}.`];
  const files = data.files.flatMap((file, at) => [at ? ", " : "", link(file, file)]);
  byId("command").append(make("pre", { tabindex: 0 }, command), list(lines), make("p", {}, "Files: ", ...files));
}

// ---- the page

function start() {
  byId("summary").textContent = `${front.length} networks on the front, ${say(data.evaluations)} evaluated. Latency: ${data.subtitle.join("; ")}.`;
  byId("warnings").append(...data.warnings.map((warning) => make("li", {}, warning)));
  for (const axis of ["x", "y"]) {
    byId(axis).append(...columns.map((column) => make("option", { value: column.name, ...(column.name === state[axis] ? { selected: "" } : {}) }, column.label)));
    byId(axis).addEventListener("change", (event) => {
      state[axis] = event.target.value;
      state.near = null;
      byId("tip").hidden = true;
      drawFront();
    });
  }
  const chart = byId("chart"), spotOf = (event) => [event.clientX - chart.getBoundingClientRect().left, event.clientY - chart.getBoundingClientRect().top];
  chart.addEventListener("pointermove", (event) => pointAt(nearest(...spotOf(event))));
  chart.addEventListener("pointerleave", () => pointAt(null));
  chart.addEventListener("click", (event) => {
    const point = event.target.closest(".point"); // clicks of screen readers have no coordinates
    const number = point ? Number(point.dataset.number) : nearest(...spotOf(event));
    if (number === null) return;
    pointAt(number);
    pin(number);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") setPins([]);
  });
  drawTable();
  drawDevices();
  drawEffects();
  drawProgress();
  drawCard();
  drawReproduce();
  drawCompared();
  new ResizeObserver(drawFront).observe(chart);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawFront);
}

start();
