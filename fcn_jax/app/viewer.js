// The viewer of the page: draws every pane, and answers at once to opacity and hidden classes.
// Gradio (gr.HTML, js_on_load) gives `element`, `props`, `trigger` and `watch`. Names from files and
// runs are only ever put in as text.

const root = element.querySelector(".viewer");
const hidden = new Map(); // by the class's name, over all panes and photographs
let opacity = 60;
let panes = [];
let shows = 0;

const make = (tag, attributes, ...children) => {
  const made = Object.assign(document.createElement(tag), attributes);
  made.append(...children);
  return made;
};

const load = (source) => new Promise((done) => {
  const image = new Image();
  image.onload = () => done(image);
  image.src = source;
});

/** The classes of all pixels, from a gray PNG. */
const values = (image) => {
  const canvas = make("canvas", { width: image.width, height: image.height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, image.width, image.height).data;
};

const isHidden = (one) => hidden.get(one.name) ?? one.hidden;

const paint = (pane) => {
  const colours = new Array(256).fill(null);
  for (const one of pane.drawn.classes) if (!isHidden(one)) colours[one.value] = one.colour;
  const context = pane.canvas.getContext("2d");
  const image = context.createImageData(pane.canvas.width, pane.canvas.height);
  for (let i = 0; i < image.data.length; i += 4) {
    const colour = colours[pane.labels[i]];
    if (colour) {
      [image.data[i], image.data[i + 1], image.data[i + 2]] = colour;
      image.data[i + 3] = 255;
    }
  }
  context.putImageData(image, 0, 0);
  pane.canvas.style.opacity = opacity / 100;
};

/** The row and column that an event of the mouse points at. */
const place = (pane, event) => {
  const box = pane.canvas.getBoundingClientRect();
  const at = (part, count) => Math.min(Math.max(Math.floor(part * count), 0), count - 1);
  return {
    row: at((event.clientY - box.top) / box.height, pane.canvas.height),
    column: at((event.clientX - box.left) / box.width, pane.canvas.width),
  };
};

/** Marks a pixel in every pane, and asks for its classes. */
const point = (at) => {
  for (const { canvas, cross, drawn } of panes) {
    cross.hidden = false;
    cross.style.left = `${(100 * (at.column + 0.5)) / canvas.width}%`;
    cross.style.top = `${(100 * (at.row + 0.5)) / canvas.height}%`;
    cross.at = at;
  }
  trigger("click", at);
};

const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

const stage = (value, pane) => {
  const { canvas, cross } = pane;
  const tip = make("span", { className: "tip", hidden: true });
  const made = make(
    "div",
    { className: "stage", tabIndex: 0 },
    make("img", { src: value.photograph, alt: value.name, draggable: false }),
    canvas, cross, tip,
  );
  made.setAttribute("role", "application");
  made.setAttribute("aria-label", `${pane.drawn.title}: click, or use the arrow keys, for the classes of a pixel`);
  made.onclick = (event) => point(place(pane, event));
  made.onpointermove = (event) => {
    const { row, column } = place(pane, event);
    tip.textContent = pane.drawn.names[pane.labels[4 * (row * canvas.width + column)]];
    tip.hidden = false;
  };
  made.onpointerleave = () => (tip.hidden = true);
  made.onkeydown = (event) => {
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const from = cross.at ?? { row: canvas.height >> 1, column: canvas.width >> 1 };
    const far = event.shiftKey ? 1 : Math.ceil(canvas.width / 50);
    point({
      row: Math.min(Math.max(from.row + far * step[0], 0), canvas.height - 1),
      column: Math.min(Math.max(from.column + far * step[1], 0), canvas.width - 1),
    });
  };
  return made;
};

const legend = (pane) => make("ul", { className: "legend" }, ...pane.drawn.classes.map((one) => {
  const box = make("input", { type: "checkbox", checked: !isHidden(one) });
  box.dataset.name = one.name;
  box.onchange = () => {
    hidden.set(one.name, !box.checked);
    refresh();
  };
  const chip = make("span", { className: "chip" });
  chip.style.background = `rgb(${one.colour})`;
  const share = make("span", { className: "share" }, one.share);
  return make("li", {}, make("label", {}, box, chip, one.name, share));
}));

/** The most probable classes of the pixel that was pointed at, below each pane. */
const answer = () => panes.forEach((pane, n) => {
  const said = props.answer;
  if (!said) {
    pane.bars.replaceChildren("Click on the picture: the most probable classes of that pixel.");
    return;
  }
  pane.bars.replaceChildren(`Row ${said.row}, column ${said.column}`, ...said.panes[n].map((one) => {
    const bar = make("span", { className: "bar" });
    bar.style.width = `${100 * one.probability}%`;
    bar.style.background = `rgb(${one.colour})`;
    return make("div", { className: "probability" }, make("span", {}, one.name),
      make("span", { className: "track" }, bar), make("span", { className: "number" }, one.text));
  }));
});

/** What is there before the first photograph: what the nets know. */
const welcome = () => make("div", { className: "welcome" },
  make("p", {}, "Drop a photograph, paste one, or use the camera."),
  ...props.nets.map((net) => make("p", {}, make("b", {}, net.title), ` knows ${net.names.length} classes: `,
    net.names.slice(0, 60).join(", "), net.names.length > 60 ? ", …" : "")),
  make("p", {}, "A photograph goes to the machine that serves this page and nowhere else, and is deleted after an hour."));

/** Draws again what opacity and hidden classes change; nothing is asked of the server. */
const refresh = () => {
  panes.forEach(paint);
  for (const box of root.querySelectorAll(".legend input")) {
    const one = panes.flatMap((p) => p.drawn.classes).find((c) => c.name === box.dataset.name);
    box.checked = !isHidden(one);
  }
};

const controls = () => {
  const shown = make("output", {}, `${opacity} %`);
  const slider = make("input", { type: "range", min: 0, max: 100, value: opacity });
  slider.oninput = () => {
    opacity = Number(slider.value);
    shown.textContent = `${opacity} %`;
    for (const pane of panes) pane.canvas.style.opacity = opacity / 100;
  };
  const all = (text, hide) => make("button", {
    type: "button",
    textContent: text,
    onclick: () => {
      for (const one of panes.flatMap((p) => p.drawn.classes)) hidden.set(one.name, hide);
      refresh();
    },
  });
  return make("div", { className: "controls" },
    make("label", {}, "Opacity", slider, shown), all("Show all", false), all("Hide all", true));
};

const show = async () => {
  const { value } = props, turn = ++shows;
  panes = [];
  if (!value) return root.replaceChildren(welcome());
  if (value.message) {
    const message = make("p", { className: "message" }, value.message);
    message.setAttribute("role", "alert");
    return root.replaceChildren(message);
  }
  const images = await Promise.all(value.panes.map((drawn) => load(drawn.label)));
  if (turn !== shows) return; // another photograph came meanwhile
  panes = value.panes.map((drawn, n) => ({
    drawn,
    labels: values(images[n]),
    canvas: make("canvas", { width: value.columns, height: value.rows }),
    cross: make("span", { className: "cross", hidden: true }),
    bars: make("div", { className: "bars", ariaLive: "polite" }),
  }));
  const figures = panes.map((pane) => {
    const picture = stage(value, pane);
    picture.style.maxWidth = `calc(80vh * ${value.columns / value.rows})`; // fits on the screen
    return make("figure", {}, make("figcaption", {}, pane.drawn.title), picture,
      make("div", { className: "under" }, pane.bars, legend(pane)));
  });
  root.replaceChildren(controls(), make("div", { className: "panes" }, ...figures));
  refresh();
  answer();
};

watch("value", show);
watch("answer", answer);
show();
