// The stored images of a table, the arms side by side: which boxes are found, which are wrong, which are missed.

const KINDS = { hit: t("true positive"), wrong: t("false positive"), missed: t("missed") };
const CLASS_KINDS = { hit: t("right class"), wrong: t("wrong class") };

/** At a confidence, in thousandths, and for a class or null: the boxes of one prediction list by kind. */
function sorted(truth, predictions, confidence, label) {
  const ofClass = (box) => label === null || box[4] === label;
  const shown = predictions.filter((box) => box[5] >= confidence);
  const claimed = new Set(shown.map((box) => box[6]));
  return {
    hit: shown.filter((box) => box[6] >= 0 && ofClass(box)),
    wrong: shown.filter((box) => box[6] < 0 && ofClass(box)),
    missed: truth.filter((box, place) => !claimed.has(place) && ofClass(box)),
  };
}

class Images {
  constructor(place, content, arms) {
    Object.assign(this, { place, content, arms, number: 0, label: null, texts: false, large: null });
    const seeds = Object.keys(content.seeds);
    this.seed = seeds.reduce((best, seed) => (this.armsOf(seed) > this.armsOf(best) ? seed : best));
    this.kinds = content.classified ? CLASS_KINDS : KINDS;
    this.confidence = content.classified ? 0 : Math.max(250, content.lowest);
    this.title = element("strong", { "aria-live": "polite" });
    this.shown = element("output", {});
    this.slider = element("input", {
      type: "range", min: content.lowest / 1000, max: 0.95, step: 0.01, value: this.confidence / 1000,
    });
    this.slider.addEventListener("input", () => this.redraw({ confidence: Math.round(1000 * this.slider.value) }));
    this.panels = element("div", { class: "panels" });
    this.caption = element("p", { class: "small" });
    place.append(...this.controls(seeds), this.panels, this.caption);
    place.tabIndex = 0;
    place.setAttribute("role", "group");
    place.setAttribute("aria-label", t("images with boxes; arrow keys: other images; comma and full stop: confidence"));
    place.hidden = false;
    place.addEventListener("keydown", (event) => this.key(event));
    arms.watch(() => this.redraw({}));
  }

  armsOf(seed) {
    return Object.keys(this.content.seeds[seed]).length;
  }

  controls(seeds) {
    const chips = element("div", { class: "arms" });
    this.arms.fill(chips);
    const button = (text, title, move) => {
      const made = element("button", { type: "button", text, title, "aria-label": title });
      made.addEventListener("click", () => this.move(move));
      return made;
    };
    const classes = [["", t("all")], ...this.content.classes.map((name, index) => [index, name])];
    const kinds = Object.entries(this.kinds).map(([kind, text]) => element("span", { class: `key ${kind}`, text }));
    const slider = element("label", {}, element("span", { text: t("confidence from") }), this.slider, this.shown);
    return [
      chips,
      element("div", { class: "controls" },
        button("◀", t("previous image"), -1), button("▶", t("next image"), 1), this.title),
      element("div", { class: "controls" }, slider,
        choice(t("class"), classes, (label) => this.redraw({ label: label === "" ? null : Number(label) })),
        ...(seeds.length > 1 ? [this.seedChoice(seeds)] : []),
        checkbox(t("labels"), (texts) => this.redraw({ texts }))),
      element("div", { class: "controls keys" }, ...kinds),
    ];
  }

  seedChoice(seeds) {
    const made = choice(t("seed"), seeds.map((seed) => [seed, seed]), (seed) => this.redraw({ seed }));
    made.querySelector("select").value = this.seed;
    return made;
  }

  move(by) {
    const count = this.content.images.length;
    this.redraw({ number: (this.number + by + count) % count });
  }

  key(event) {
    if (["INPUT", "SELECT"].includes(event.target.tagName) || event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = { ArrowLeft: -1, ArrowRight: 1 };
    const steps = { ",": -0.05, ".": 0.05 };
    if (event.key in moves) this.move(moves[event.key]);
    else if (event.key in steps) {
      this.slider.value = Number(this.slider.value) + steps[event.key];
      this.redraw({ confidence: Math.round(1000 * this.slider.value) });
    } else if (event.key === "Escape") this.redraw({ large: null });
    else return;
    event.preventDefault();
  }

  redraw(changes) {
    Object.assign(this, changes);
    const { images, seeds, split, left_out: leftOut } = this.content;
    const image = images[this.number];
    const place = { number: this.number + 1, count: images.length, name: image.name };
    this.title.textContent = t("image {number} of {count}: {name}", place);
    this.shown.textContent = (this.confidence / 1000).toFixed(2);
    const truth = { hit: [], wrong: [], missed: [], truth: image.truth.filter((box) => this.label === null || box[4] === this.label) };
    const panels = [this.panel(t("ground truth"), this.named(truth.truth), image, truth)];
    for (const arm of this.arms.shown) {
      const predictions = seeds[this.seed][arm.label]?.[this.number];
      if (!predictions) continue;
      const found = sorted(image.truth, predictions, this.confidence, this.label);
      if (this.content.classified) found.missed = [];
      const numbers = { hits: found.hit.length, wrong: found.wrong.length, missed: found.missed.length };
      const counts = this.content.classified
        ? this.named([...found.hit, ...found.wrong]) : t("TP {hits}  FP {wrong}  missed {missed}", numbers);
      panels.push(this.panel(arm.label, counts, image, found));
    }
    this.panels.replaceChildren(...panels);
    this.panels.classList.toggle("large", this.large !== null);
    const absent = this.arms.shown.filter((arm) => !seeds[this.seed][arm.label]?.[this.number]).map((arm) => arm.label);
    const words = [
      t("Images of {split}, spread evenly over it, the same for every arm; seed {seed}.", { split, seed: this.seed }),
      ...(this.content.classified ? [
        t("Of each image the most probable class. A click enlarges an image. Keys: arrows and , ."),
      ] : [
        t("A detection is a true positive if it claims an object of its class by an IoU of at least 0.5 of the boxes around them, in descending confidence."),
        t("Stored are the 50 most confident detections of an image. A click enlarges an image. Keys: arrows and , ."),
      ]),
      leftOut,
    ];
    if (absent.length) words.push(t("Not stored for {arms}.", { arms: absent.join(", ") }));
    this.caption.textContent = words.filter(Boolean).join(" ");
  }

  /** The class of an image with its probability, or how many boxes there are. */
  named(boxes) {
    if (!this.content.classified) return t("{number} boxes", { number: boxes.length });
    return boxes.map((box) => [this.content.classes[box[4]], box.length > 5 ? (box[5] / 1000).toFixed(2) : ""].join(" ")).join(", ");
  }

  panel(name, counts, image, boxes) {
    const view = drawn("svg", {
      viewBox: `0 0 ${image.width} ${image.height}`, role: "img", "aria-label": `${image.name}, ${name}: ${counts}`,
    });
    const photo = { href: DATA.photos[image.photo], width: image.width, height: image.height, preserveAspectRatio: "none" };
    view.append(drawn("image", photo));
    for (const kind of ["truth", "missed", "wrong", "hit"]) {
      for (const box of boxes[kind] || []) this.box(view, box, kind, image);
    }
    const made = element("figure", { "data-arm": name }, view,
      element("figcaption", {}, element("b", { text: name }), element("span", { text: counts })));
    made.hidden = this.large !== null && this.large !== name;
    view.addEventListener("click", () => this.redraw({ large: this.large === name ? null : name }));
    hint.over(view, (event) => (event.target.dataset.words ? [event.target.dataset.words] : null));
    return made;
  }

  box(view, box, kind, image) {
    const [x1, y1, x2, y2] = [0, 1, 2, 3].map((i) => (box[i] / 10000) * (i % 2 ? image.height : image.width));
    const place = { x: x1, y: y1, width: Math.max(x2 - x1, 1), height: Math.max(y2 - y1, 1) };
    const name = this.content.classes[box[4]];
    const confidence = box.length > 5 ? (box[5] / 1000).toFixed(2) : "";
    view.append(drawn("rect", { ...place, class: `halo ${kind}` }));
    const words = [name, confidence, this.kinds[kind]].filter(Boolean).join(", ");
    view.append(drawn("rect", { ...place, class: `box ${kind}`, "data-words": words }));
    if (!this.texts) return;
    const size = Math.max(image.width, image.height) / 42;
    const text = `${name} ${confidence}`.trim();
    view.append(drawn("text", { x: x1 + 2, y: Math.max(y1 - 3, size), "font-size": size, class: kind, text }));
  }
}
