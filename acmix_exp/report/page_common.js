// What the other scripts of the page share: elements, the choice of arms, the hint beside the pointer.

const DATA = JSON.parse(document.getElementById("page-data").textContent);

/** The sentence in the page's language, its {names} filled with `values`. */
function t(sentence, values = {}) {
  return (DATA.words[sentence] || sentence).replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** An element; `attributes` are set as they are, except `text`. Text is never read as markup. */
function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") made.textContent = value;
    else if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** A labelled <select>; `options` is a list of [value, text]. */
function choice(label, options, changed) {
  const select = element("select", {}, ...options.map(([value, text]) => element("option", { value, text })));
  select.addEventListener("change", () => changed(select.value));
  return element("label", {}, element("span", { text: label }), select);
}

function checkbox(label, changed) {
  const box = element("input", { type: "checkbox" });
  box.addEventListener("change", () => changed(box.checked));
  return element("label", {}, box, element("span", { text: label }));
}

/** The arms of a table and which of them are hidden, the same in its tables, curves and images. */
class Arms {
  constructor(arms) {
    this.all = arms;
    this.hidden = new Set();
    this.watchers = [];
  }

  get shown() {
    return this.all.filter((arm) => !this.hidden.has(arm.label));
  }

  set(hidden) {
    this.hidden = new Set(hidden);
    for (const watcher of this.watchers) watcher();
  }

  toggle(label) {
    const hidden = new Set(this.hidden);
    if (!hidden.delete(label)) hidden.add(label);
    this.set(hidden);
  }

  only(label) {
    this.set(this.all.map((arm) => arm.label).filter((other) => other !== label));
  }

  watch(watcher) {
    this.watchers.push(watcher);
    watcher();
  }

  /** A row of buttons, one an arm, that show and hide it. */
  fill(place) {
    const buttons = this.all.map((arm) => {
      const title = t("show or hide; double click: this arm alone");
      const swatch = element("span", { class: "swatch", style: `--arm: ${arm.colour}` });
      const button = element("button", { type: "button", title }, swatch, arm.label);
      button.addEventListener("click", () => this.toggle(arm.label));
      button.addEventListener("dblclick", () => this.only(arm.label));
      return button;
    });
    const everything = element("button", { type: "button", class: "plain", text: t("show all") });
    everything.addEventListener("click", () => this.set([]));
    const note = element("span", { class: "hidden-arms", "aria-live": "polite" });
    place.append(element("span", { class: "label", text: t("Arms") }), ...buttons, everything, note);
    place.hidden = false;
    this.watch(() => {
      this.all.forEach((arm, index) => buttons[index].setAttribute("aria-pressed", !this.hidden.has(arm.label)));
      everything.hidden = !this.hidden.size;
      note.textContent = this.hidden.size ? t("Hidden: {arms}.", { arms: [...this.hidden].join(", ") }) : "";
    });
  }
}

/** A few lines of text beside the pointer. */
const hint = {
  box: document.body.appendChild(element("div", { class: "hint", hidden: "", "aria-hidden": "true" })),

  show(event, lines) {
    this.box.replaceChildren(...lines.map((line) => (line instanceof Node ? line : element("div", { text: line }))));
    this.box.hidden = false;
    const { width, height } = this.box.getBoundingClientRect();
    const left = event.clientX + 14 + width > innerWidth ? event.clientX - width - 14 : event.clientX + 14;
    const top = event.clientY + 14 + height > innerHeight ? event.clientY - height - 14 : event.clientY + 14;
    this.box.style.left = `${Math.max(left, 4)}px`;
    this.box.style.top = `${Math.max(top, 4)}px`;
  },

  hide() {
    this.box.hidden = true;
  },

  /** Show what `lines(event)` returns while the pointer is over the element. */
  over(target, lines) {
    for (const kind of ["pointermove", "pointerdown"]) {
      target.addEventListener(kind, (event) => {
        const found = lines(event);
        if (found) this.show(event, found);
        else this.hide();
      });
    }
    target.addEventListener("pointerleave", () => this.hide());
  },
};
