// The page of the attribute browser. What is chosen and shown is computed in Python (widgets.py); here it is drawn and asked.

const PATIENCE = 20; // s without an answer after which the page says so
const HINT = "← → image · ↑ ↓ class · click a picture, then shift + arrows: pixel · everything else by tab";

/** An element: properties, attributes (those with a dash, and role), and children, of which null is left out. */
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "style") element.style.cssText = value;
    else if (name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.flat().filter(child => child !== null && child !== undefined));
  return element;
}

/** What happens when a field was filled in; JupyterLab keeps Enter from being a change. */
const entered = act => ({ onchange: act, onkeydown: event => event.key === "Enter" && act() });

const percent = share => `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;

function select(key, label, options, value, change) {
  const items = options.map(([name, text]) => h("option", { value: name, textContent: text, selected: name === value }));
  const box = h("select", { "data-key": key, "aria-label": label, onchange: () => change(box.value) }, items);
  return h("label", { className: "vda-field" }, h("span", { textContent: label }), box);
}

function choices(key, label, options, value, change) {
  const buttons = options.map(name => h("button", {
    type: "button", textContent: name, "data-key": `${key}-${name}`, "aria-pressed": name === value, onclick: () => change(name),
  }));
  return h("div", { className: "vda-choices", role: "group", "aria-label": label }, h("span", { textContent: label }), buttons);
}

/** One question at a time: what is asked meanwhile is put together and asked next. */
function asker(model, busy) {
  let waiting = null, next = null, timer;
  const send = content => {
    waiting = content;
    busy(true);
    model.send(content);
    timer = setTimeout(() => busy(true, `no answer for ${PATIENCE} s: the kernel is busy, or gone (run the cell again)`), 1000 * PATIENCE);
  };
  model.on("msg:custom", content => {
    if (content !== "done") return;
    clearTimeout(timer);
    waiting = null;
    busy(false);
    if (next) {
      const content = next;
      next = null;
      send(content);
    }
  });
  return content => {
    if (!waiting) return send(content);
    const merged = { ...next, ...content };
    if (next?.choose && content.choose) merged.choose = { ...next.choose, ...content.choose };
    if (next?.move && content.move) merged.move = next.move + content.move;
    next = merged;
  };
}

function legend(layer) {
  if (layer.scale) {
    const [colours, low, high] = layer.scale;
    const bar = h("span", { className: "vda-ramp", style: `background: linear-gradient(to right, ${colours.join(", ")})` });
    return h("div", { className: "vda-legend" }, h("span", { textContent: low }), bar, h("span", { textContent: high }));
  }
  return h("div", { className: "vda-legend" }, layer.entries.map(([name, colour, share]) =>
    h("span", {}, h("i", { style: `background: ${colour}` }), `${name} ${percent(share)}`)));
}

/** A picture with a map over it; both are drawn at the device's resolution, small ones with visible pixels. */
function figure(picture, layer, place, click) {
  const small = Math.max(picture.width, picture.height) < 256;
  const box = h("div", { className: "vda-stage", style: `aspect-ratio: ${picture.width} / ${picture.height}`, onclick: click });
  box.append(h("img", { className: small ? "vda-crisp" : "", src: picture.src, alt: picture.name, draggable: false }));
  if (layer) {
    const name = `vda-layer ${layer.crisp ? "vda-crisp" : ""}`;
    box.append(h("img", { className: name, src: layer.src, alt: `${layer.title}, ${layer.note}`, draggable: false }));
  }
  if (place) box.append(mark(place));
  const caption = layer ? [h("b", { textContent: layer.title }), h("span", { textContent: layer.note }), legend(layer)]
    : [h("b", { textContent: picture.name }), h("span", { textContent: `${picture.width} × ${picture.height} px` })];
  return h("figure", {}, box, h("figcaption", {}, caption));
}

function mark([left, top, right, bottom]) {
  const sides = { left, top, width: right - left, height: bottom - top };
  return h("span", { className: "vda-mark", style: Object.entries(sides).map(([k, v]) => `${k}: ${100 * v}%`).join("; ") });
}

/** The components of a class by response; a click puts one in or out. */
function components(key, view, chosen, change) {
  if (!view.weights.length) return null;
  const most = view.weights[0][1], even = 1 / view.weights.length;
  const rows = view.weights.map(([i, weight]) => {
    const on = chosen.includes(i);
    const bar = h("span", { className: "vda-bar" },
      h("i", { style: `width: ${100 * weight / most}%` }), h("u", { style: `left: ${Math.min(100 * even / most, 100)}%` }));
    return h("button", {
      type: "button", className: "vda-component", "data-key": `${key}-component-${i}`, "aria-pressed": on,
      onclick: () => change({ components: on ? chosen.filter(one => one !== i) : [...chosen, i] }),
    }, h("span", { textContent: i }), bar, h("span", { textContent: weight.toFixed(3) }));
  });
  const hint = chosen.length ? "only those pressed are assembled" : "all are assembled; press some for those only";
  const all = h("button", { type: "button", textContent: "all", disabled: !chosen.length, "data-key": `${key}-all`,
    onclick: () => change({ components: [] }) });
  return h("div", { className: "vda-components" },
    h("p", { className: "vda-soft" }, all, ` components by response (line: all alike); ${hint}`), rows);
}

/** What is asked of one view. */
function controls(key, title, asked, view, runs, change) {
  const fused = asked.query === "fused query", usable = fused && view.adaptive !== null;
  const number = h("output", { textContent: view.alpha.toFixed(2) });
  const slider = h("input", { type: "range", min: 0, max: 1, step: 0.01, value: view.alpha, disabled: !usable || asked.alpha === null,
    "data-key": `${key}-alpha`, "aria-label": "alpha", oninput: () => { number.textContent = (+slider.value).toFixed(2); },
    onchange: () => change({ alpha: +slider.value }) });
  const adaptive = h("input", { type: "checkbox", checked: asked.alpha === null, disabled: !usable, "data-key": `${key}-adaptive`,
    onchange: () => change({ alpha: adaptive.checked ? null : view.alpha }) });
  const text = h("input", { type: "text", value: asked.text, placeholder: "words, then Enter", "aria-label": "free text",
    "data-key": `${key}-text`, ...entered(() => change({ text: text.value, query: "free text" })) });
  const adapts = view.adaptive === null ? "" : ` (here ${view.adaptive.toFixed(2)})`;
  return h("fieldset", {}, h("legend", { textContent: title }),
    runs.length > 1 ? select(`${key}-run`, "run", runs.map(run => [run, run]), asked.run, run => change({ run })) : null,
    choices(`${key}-map`, "map", view.maps, asked.map, map => change({ map })),
    choices(`${key}-query`, "query", view.queries.filter(query => query !== "free text" || asked.text), asked.query,
      query => change({ query })),
    view.queries.includes("free text") ? h("label", { className: "vda-field" }, h("span", { textContent: "ask by" }), text) : null,
    view.queries.includes("fused query") ? h("div", { className: "vda-field" }, h("span", { textContent: "alpha" }), slider, number,
      h("label", {}, adaptive, ` adaptive${adapts}`)) : null,
    view.note ? h("p", { className: "vda-soft", textContent: view.note }) : null,
    ["fused query", "visual description"].includes(asked.query) ? components(key, view, asked.components, change) : null);
}

function probed(probe) {
  if (!probe) return h("p", { className: "vda-soft", textContent: "Click a picture: what the run sees in that patch." });
  const rows = [["seed", probe.seed.toFixed(2)], ...probe.cosines.map(([name, value]) => [`cosine to ${name}`, value.toFixed(3)])];
  if (probe.distances) {
    const [[nearest, distance], ...others] = probe.distances;
    const second = others.length ? ` (next: ${others[0][0]}, ${others[0][1].toFixed(1)})` : "";
    rows.unshift(["nearest component", `${nearest}, latent distance ${distance.toFixed(1)}${second}`]);
  }
  rows.push(["the segmenter says", probe.likely.map(([name, share]) => `${name} ${percent(share)}`).join(", ")]);
  const table = h("table", {}, rows.map(([name, value]) => h("tr", {}, h("th", { textContent: name }), h("td", { textContent: value }))));
  const patches = probe.patches.map(one => h("figure", {},
    h("div", { className: "vda-stage" }, h("img", { className: "vda-crisp", src: one.src, alt: one.name }), mark(one.box)),
    h("figcaption", { title: one.name }, h("b", { textContent: one.cosine.toFixed(3) }), h("span", { textContent: one.name }))));
  return [table, patches.length ? h("p", { className: "vda-soft", textContent: "the training patches most like it, by cosine" }) : null,
    h("div", { className: "vda-thumbs" }, patches)];
}

function neighbours(found) {
  if (!found) return null;
  const none = "none: no reliable prototype of the class in the images looked at";
  const title = `training images nearest to component ${found.component}, by latent distance${found.items.length ? "" : ` (${none})`}`;
  return [h("p", { className: "vda-soft", textContent: title }), h("div", { className: "vda-thumbs" }, found.items.map(one =>
    h("figure", {}, h("img", { src: one.src, alt: one.name }),
      h("figcaption", { title: one.name }, h("b", { textContent: one.distance.toFixed(1) }), h("span", { textContent: one.name })))))];
}

function render({ model, el }) {
  const parts = Object.fromEntries(["top", "strip", "classes", "maps", "controls", "probe", "neighbours"].map(name =>
    [name, h("div", { className: `vda-${name}` })]));
  const message = h("p", { className: "vda-message", role: "status" });
  const root = h("section", { className: "vda", tabIndex: 0, "aria-label": "attribute browser", "data-lm-suppress-shortcuts": "true" },
    parts.top, parts.strip, h("div", { className: "vda-said" }, parts.classes, message), parts.maps, parts.controls,
    h("div", { className: "vda-below" }, parts.probe, parts.neighbours),
    h("p", { className: "vda-soft", textContent: HINT }));
  const say = text => {
    message.textContent = text;
    message.classList.toggle("vda-wrong", /^\w*(Error|Exception|Interrupt)\b|^no answer/.test(text));
  };
  const ask = asker(model, (busy, text) => {
    root.classList.toggle("vda-busy", busy);
    if (text) say(text);
  });
  const choose = changes => ask({ choose: changes });

  function fill(name, ...children) { // what had the focus has it again
    const key = parts[name].contains(document.activeElement) ? document.activeElement.dataset.key : null;
    parts[name].replaceChildren(...children.flat().filter(child => child));
    if (key) (parts[name].querySelector(`[data-key="${CSS.escape(key)}"]`) ?? root).focus({ preventScroll: true });
  }

  function top(settings, shown, strip) {
    const everything = [["", "all classes"], ...shown.every_class.map(name => [name, name])];
    const opacity = h("input", { type: "range", min: 0, max: 1, step: 0.05, value: settings.opacity, "data-key": "opacity",
      "aria-label": "opacity", oninput: () => root.style.setProperty("--vda-opacity", opacity.value),
      onchange: () => choose({ opacity: +opacity.value }) });
    const second = h("input", { type: "checkbox", checked: settings.second !== null, "data-key": "second",
      onchange: () => choose({ second: second.checked ? {} : null }) });
    const go = h("input", { type: "number", min: 0, value: settings.image, "aria-label": "image", "data-key": "image",
      ...entered(() => choose({ image: +go.value })) });
    fill("top",
      select("only", "show", everything, settings.only, only => choose({ only })),
      select("order", "order", shown.orders.map(name => [name, name]), settings.order, order => choose({ order })),
      h("label", { className: "vda-field" }, h("span", { textContent: "image" }), go,
        h("span", { textContent: `${strip.place + 1} of ${strip.count}` })),
      h("label", { className: "vda-field" }, h("span", { textContent: "opacity" }), opacity),
      h("label", { className: "vda-field" }, second, "second view"),
      h("button", { type: "button", textContent: "save", "data-key": "save", onclick: () => ask({ save: true }) }),
      shown.saved.length ? select("saved", "saved views", [["", "open …"], ...shown.saved.map(name => [name, name.replace(/\.json$/, "")])], "",
        name => name && ask({ reopen: name })) : null);
  }

  function strip(settings, found) {
    const step = (text, label, steps) => h("button", { type: "button", className: "vda-step", textContent: text, "aria-label": label,
      "data-key": label, onclick: () => ask({ move: steps }) });
    const items = found.items.map(one => h("button", {
      type: "button", title: one.name, "data-key": `image-${one.index}`, "aria-pressed": one.index === settings.image,
      onclick: () => choose({ image: one.index }),
    }, h("img", { src: one.src, alt: one.name }), h("span", { textContent: one.note || one.index })));
    fill("strip", step("‹", "page before", -found.page), h("div", { className: "vda-film" }, items), step("›", "page after", found.page));
    const [film, on] = [".vda-film", ".vda-film [aria-pressed=true]"].map(name => parts.strip.querySelector(name));
    if (on) film.scrollLeft = on.offsetLeft + on.offsetWidth / 2 - film.clientWidth / 2; // scrollIntoView would move the whole page
  }

  function draw() {
    const [settings, shown, picture, film] = ["settings", "shown", "picture", "strip"].map(name => model.get(name));
    root.style.setProperty("--vda-opacity", settings.opacity);
    say(model.get("message"));
    top(settings, shown, film);
    strip(settings, film);
    fill("classes", choices("class", "class", shown.classes, settings.class_name, class_name => choose({ class_name })));
    const place = shown.probe?.place;
    const letters = shown.layers.length > 1 ? ["A · ", "B · ", ""] : [""];
    const click = event => {
      const box = event.currentTarget.getBoundingClientRect();
      const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      choose({ pixel: [x, y].map(value => Math.min(Math.max(value, 0), 0.9999)) });
    };
    fill("maps", [null, ...shown.layers].map((layer, i) =>
      figure(picture, layer && { ...layer, title: letters[i - 1] + layer.title }, place, click)));
    const views = shown.views.map((view, i) => {
      const [asked, change] = i ? [settings.second, second => choose({ second })] : [settings, choose];
      return controls(`view${i}`, shown.views.length > 1 ? `view ${"AB"[i]}` : "view", asked, view, shown.runs, change);
    });
    fill("controls", views);
    fill("probe", h("h4", { textContent: "patch" }), probed(shown.probe));
    fill("neighbours", shown.neighbours ? h("h4", { textContent: "component" }) : null, neighbours(shown.neighbours));
  }

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, textarea, input:not([type=checkbox])")) return;
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!arrow) return;
    event.preventDefault();
    event.stopPropagation();
    const [settings, shown] = [model.get("settings"), model.get("shown")];
    if (event.shiftKey) {
      const [left, top, right, bottom] = shown.probe?.place ?? [0.45, 0.45, 0.55, 0.55];
      const pixel = [(left + right) / 2 + arrow[0] * (right - left), (top + bottom) / 2 + arrow[1] * (bottom - top)];
      choose({ pixel: pixel.map(value => Math.min(Math.max(value, 0), 0.9999)) });
    } else if (arrow[0]) {
      ask({ move: arrow[0] });
    } else {
      const place = shown.classes.indexOf(settings.class_name) + arrow[1];
      if (shown.classes[place]) choose({ class_name: shown.classes[place] });
    }
  }

  const safely = act => (...given) => {
    try {
      act(...given);
    } catch (error) {
      say(`${error.name}: ${error.message} (in the page)`);
      throw error;
    }
  };
  let planned = false;
  const plan = () => { // one drawing for all that comes in one message
    if (!planned) queueMicrotask(safely(() => { planned = false; draw(); }));
    planned = true;
  };
  for (const name of ["settings", "shown", "picture", "strip"]) model.on(`change:${name}`, plan);
  model.on("change:message", () => say(model.get("message")));
  root.addEventListener("keydown", safely(key));
  el.append(root);
  safely(draw)();
}

export default { render };
