// Training curves of a table: by arm the mean over seeds with a band, single seeds on demand, values at the pointer.

const SHAPE = { height: 340, left: 58, right: 12, top: 10, bottom: 36 };

/** Round numbers from `low` to `high`, about `count` of them. */
function roundNumbers(low, high, count) {
  const rough = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const first = Math.ceil(low / step - 1e-9);
  const number = Math.floor(high / step + 1e-9) - first + 1;
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return Array.from({ length: number }, (_, i) => ({ value: (first + i) * step, text: ((first + i) * step).toFixed(digits) }));
}

/** Of an arm's runs by seed: per epoch that all of them have, mean and standard deviation (n - 1). */
function meanCurve(runs, key) {
  const points = new Map();
  for (const run of runs) {
    run.epochs.forEach((epoch, place) => {
      const value = run[key][place];
      if (value !== null) points.set(epoch, [...(points.get(epoch) || []), value]);
    });
  }
  return [...points]
    .filter(([, values]) => values.length === runs.length)
    .sort((a, b) => a[0] - b[0])
    .map(([epoch, values]) => {
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const squares = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
      return { epoch, mean, deviation: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0 };
    });
}

class Curves {
  constructor(place, content, arms) {
    Object.assign(this, { place, content, arms, seeds: false, zoom: false, at: null });
    this.key = Object.keys(content.metrics)[0];
    this.panel = element("div", { class: "panel", tabindex: "0", role: "group" });
    const chips = element("div", { class: "arms" });
    const controls = element("div", { class: "controls" },
      choice(t("shown"), Object.entries(content.metrics), (key) => this.redraw({ key })),
      checkbox(t("single seeds"), (seeds) => this.redraw({ seeds })),
      checkbox(t("last half"), (zoom) => this.redraw({ zoom })));
    const caption = element("p", { class: "small" });
    const words = t("Lines: mean over the seeds of an arm; bands: one standard deviation to each side. Point at an epoch, or step with the arrow keys, for its values.");
    caption.textContent = `${words} ${content.left_out}`;
    place.append(chips, controls, this.panel, caption);
    place.hidden = false;
    this.panel.addEventListener("keydown", (event) => this.step(event));
    hint.over(this.panel, (event) => this.values(event));
    this.panel.addEventListener("pointerleave", () => this.mark(null));
    arms.fill(chips);
    arms.watch(() => this.redraw({}));
    new ResizeObserver(() => this.panel.clientWidth !== this.width && this.redraw({})).observe(this.panel);
  }

  redraw(changes) {
    Object.assign(this, changes);
    this.width = this.panel.clientWidth;
    if (!this.width) return;
    const lines = this.arms.shown
      .map((arm) => ({ arm, runs: Object.values(this.content.runs[arm.label] || {}) }))
      .map((line) => ({ ...line, points: meanCurve(line.runs, this.key) }));
    this.lines = lines.filter((line) => line.points.length);
    const arms = this.lines.map((line) => line.arm.label).join(", ");
    const title = t("{metric} by epoch: {arms}", { metric: this.content.metrics[this.key], arms });
    this.panel.setAttribute("aria-label", title);
    this.svg = drawn("svg", { viewBox: `0 0 ${this.width} ${SHAPE.height}`, role: "img", "aria-label": title });
    this.panel.replaceChildren(this.svg);
    if (!this.lines.length) {
      this.svg.append(drawn("text", { x: SHAPE.left, y: 40, text: t("No arm with these values is shown.") }));
      return;
    }
    this.setScales();
    this.axes(this.content.metrics[this.key]);
    for (const line of this.lines) this.band(line);
    if (this.seeds) for (const line of this.lines) this.single(line);
    for (const { arm, points } of this.lines) this.path(points.map((p) => [p.epoch, p.mean]), arm, "mean");
    this.mark(null);
  }

  setScales() {
    const epochs = this.lines.flatMap((line) => line.points.map((point) => point.epoch));
    const last = Math.max(...epochs);
    this.from = this.zoom ? Math.ceil(last / 2) : Math.min(...epochs);
    this.to = Math.max(last, this.from + 1);
    const values = this.lines.flatMap(({ points, runs }) => [
      ...points.filter((p) => p.epoch >= this.from).flatMap((p) => [p.mean - p.deviation, p.mean + p.deviation]),
      ...(this.seeds ? runs.flatMap((run) => run[this.key].filter((v, i) => v !== null && run.epochs[i] >= this.from)) : []),
    ]);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const margin = (high - low || Math.abs(high) || 1) * 0.05;
    this.low = low >= 0 ? Math.max(low - margin, 0) : low - margin;
    this.high = high + margin;
    const { left, right, top, bottom, height } = SHAPE;
    this.x = (epoch) => left + ((epoch - this.from) / (this.to - this.from)) * (this.width - left - right);
    this.y = (value) => top + ((this.high - value) / (this.high - this.low)) * (height - top - bottom);
  }

  axes(title) {
    const { left, right, top, bottom, height } = SHAPE;
    const add = (name, attributes) => this.svg.append(drawn(name, attributes));
    for (const { value, text } of roundNumbers(this.low, this.high, 6)) {
      const y = this.y(value);
      add("line", { class: "grid", x1: left, x2: this.width - right, y1: y, y2: y });
      add("text", { x: left - 6, y: y + 4, "text-anchor": "end", text });
    }
    for (const { value } of roundNumbers(this.from, this.to, Math.min(this.to - this.from, 8)).filter((tick) => Number.isInteger(tick.value))) {
      add("text", { x: this.x(value), y: height - bottom + 16, "text-anchor": "middle", text: value });
    }
    add("text", { x: this.width - right, y: height - 4, "text-anchor": "end", text: t("epoch") });
    const middle = (top + height - bottom) / 2;
    add("text", { transform: `translate(13 ${middle}) rotate(-90)`, "text-anchor": "middle", text: title });
    const id = `clip-${this.place.dataset.table}`;
    const area = drawn("rect", { x: left, y: 0, width: this.width - left - right + 3, height: height - bottom + 2 });
    this.svg.append(drawn("clipPath", { id }, area));
    this.drawing = this.svg.appendChild(drawn("g", { "clip-path": `url(#${id})` }));
    this.drawing.classList.toggle("many", this.lines.length > 4);
  }

  band({ arm, points }) {
    const upper = points.map((p) => `${this.x(p.epoch)},${this.y(p.mean + p.deviation)}`);
    const lower = points.map((p) => `${this.x(p.epoch)},${this.y(p.mean - p.deviation)}`).reverse();
    const style = `--arm: ${arm.colour}`;
    this.drawing.append(drawn("polygon", { class: "band", style, points: [...upper, ...lower].join(" ") }));
  }

  single({ arm, runs }) {
    for (const run of runs) {
      const points = run.epochs.map((epoch, i) => [epoch, run[this.key][i]]).filter(([, value]) => value !== null);
      this.path(points, arm, "seed");
    }
  }

  path(points, arm, name) {
    const style = `--arm: ${arm.colour}`;
    const places = points.map(([epoch, value]) => `${this.x(epoch).toFixed(1)} ${this.y(value).toFixed(1)}`);
    if (places.length > 1) {
      this.drawing.append(drawn("path", { class: name, style, "stroke-dasharray": arm.dash, d: `M${places.join("L")}` }));
    } else if (places.length) {
      const [x, y] = places[0].split(" ");
      this.drawing.append(drawn("circle", { class: name, style, cx: x, cy: y, r: 3 }));
    }
  }

  /** A vertical line at an epoch, and the values there as lines of a hint; none for null. */
  mark(epoch) {
    this.svg.querySelector(".pointer")?.remove();
    this.at = epoch;
    if (epoch === null || !this.drawing) return [];
    const x = this.x(epoch);
    this.svg.append(drawn("line", { class: "pointer", x1: x, x2: x, y1: SHAPE.top, y2: SHAPE.height - SHAPE.bottom }));
    const found = this.lines
      .map(({ arm, points, runs }) => ({ arm, runs, point: points.find((p) => p.epoch === epoch) }))
      .filter(({ point }) => point)
      .sort((a, b) => b.point.mean - a.point.mean);
    const digits = this.high < 2 ? 3 : 2;
    return [t("epoch {number}", { number: epoch }), ...found.map(({ arm, point, runs }) => {
      const spread = runs.length > 1 ? ` ± ${point.deviation.toFixed(digits)}` : "";
      const swatch = element("span", { class: "swatch", style: `--arm: ${arm.colour}` });
      return element("div", {}, swatch, `${point.mean.toFixed(digits)}${spread}  ${arm.label}`);
    })];
  }

  get epochs() {
    const all = new Set(this.lines.flatMap((line) => line.points.map((point) => point.epoch)));
    return [...all].filter((epoch) => epoch >= this.from).sort((a, b) => a - b);
  }

  values(event) {
    if (!this.lines?.length) return null;
    const x = event.clientX - this.svg.getBoundingClientRect().left;
    const distance = (epoch) => Math.abs(this.x(epoch) - x);
    return this.mark(this.epochs.reduce((best, epoch) => (distance(epoch) < distance(best) ? epoch : best)));
  }

  step(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === "Escape") hint.hide();
    if (!move || !this.lines?.length) return;
    event.preventDefault();
    const epochs = this.epochs;
    const place = this.at === null ? epochs.length - 1 : epochs.indexOf(this.at) + move;
    const lines = this.mark(epochs[Math.min(Math.max(place, 0), epochs.length - 1)]);
    const box = this.svg.getBoundingClientRect();
    hint.show({ clientX: box.left + this.x(this.at), clientY: box.top + SHAPE.top }, lines);
  }
}
