// What moves on the page: theme, filter, sliders, charts. Without it the page still tells all numbers.
const root = document.documentElement;
const all = (query, within = document) => [...within.querySelectorAll(query)];

// Theme: the system's, until the button says otherwise.
const button = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
const named = () => { button.textContent = isDark() ? "light" : "dark"; button.setAttribute("aria-label", `${button.textContent} theme`); };
function themed() {
  named();
  for (const plot of drawn.keys()) draw(plot);
}
button.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  try { localStorage.setItem("theme", root.dataset.theme); } catch { /* no storage, no memory */ }
  themed();
});
system.addEventListener("change", themed);

// Filter of the ledger.
const filter = document.getElementById("filter");
const claims = all(".ledger details");
function sift() {
  const { source, kind } = Object.fromEntries(new FormData(filter));
  for (const claim of claims) {
    claim.hidden = (source && claim.dataset.source !== source) || (kind && claim.dataset.kind !== kind);
  }
  const shown = claims.filter((claim) => !claim.hidden).length;
  document.getElementById("shown").textContent = `${shown} of ${claims.length} claims`;
}
filter.addEventListener("change", sift);
for (const link of all("[data-verdict]")) {
  link.addEventListener("click", () => { filter.kind.value = link.dataset.verdict; filter.source.value = ""; sift(); });
}
sift(); // a browser may remember what was chosen

// Sliders: over the steps of a training, and along a walk through the latent space.
function sliding(figure, show) {
  const input = figure.querySelector("input");
  const labels = JSON.parse(input.dataset.labels);
  const move = () => {
    figure.querySelector("output").textContent = labels[input.value];
    input.setAttribute("aria-valuetext", labels[input.value]);
    show(Number(input.value), labels.length);
  };
  input.addEventListener("input", move);
  move();
}
for (const figure of all(".frames")) {
  const frames = all("img", figure);
  sliding(figure, (at) => frames.forEach((img, i) => img.classList.toggle("past", i !== at)));
}
for (const figure of all(".strip")) {
  const img = figure.querySelector("img"), canvas = figure.querySelector("canvas"), mark = figure.querySelector("i");
  const rows = Number(figure.dataset.rows);
  img.decode().then(() => sliding(figure, (at, columns) => {
    const [width, height] = [img.naturalWidth / columns, img.naturalHeight / rows];
    Object.assign(canvas, { width: width * rows, height });
    for (let row = 0; row < rows; row++) {
      canvas.getContext("2d").drawImage(img, at * width, row * height, width, height, row * width, 0, width, height);
    }
    Object.assign(mark.style, { left: `${(100 * at) / columns}%`, width: `${100 / columns}%` });
  }));
}

// Charts: drawn when they come into view, and anew in another theme.
// Also for whoever looks at a chart from the browser's console.
const drawn = (window.charts = new Map());
const probe = document.body.appendChild(document.createElement("i"));
probe.hidden = true;
function colour(name) {
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}
function config(width) {
  const [ink, faint, line] = ["ink", "faint", "line"].map(colour);
  const font = getComputedStyle(document.body).fontFamily;
  return {
    background: "transparent", font, view: { stroke: null },
    axis: { labelColor: faint, titleColor: faint, titleFontWeight: "normal", gridColor: line, domainColor: line, tickColor: line, labelFontSize: 11, tickCount: 4, labelOverlap: "greedy", labelSeparation: 8 },
    legend: { orient: "top", columns: 1, title: null, labelColor: ink, labelLimit: width - 40, labelFontSize: 11, symbolType: "stroke", symbolOpacity: 1, symbolStrokeWidth: 3, rowPadding: 1 },
    range: { category: ["one", "two", "three", "four", "five"].map(colour) },
    mark: { color: colour("one") }, rule: { color: faint }, line: { strokeWidth: 1.6 },
  };
}
async function draw(plot) {
  drawn.get(plot)?.finalize();
  const spec = JSON.parse(plot.nextElementSibling.textContent);
  const theme = isDark() ? "dark" : "light";
  drawn.set(plot, await vegaEmbed(plot, spec, { actions: false, config: config(plot.clientWidth), renderer: "canvas", tooltip: { theme } }));
}
const KEYS = { "+": [0.25, -0.25], "=": [0.25, -0.25], "-": [-0.5, 0.5], ArrowLeft: [-0.25, -0.25], ArrowRight: [0.25, 0.25], 0: null };
function zoom(event) {
  if (!(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
  const { view, vgSpec } = drawn.get(event.currentTarget) ?? {};
  if (!view) return;
  event.preventDefault();
  const name = vgSpec.signals.map((signal) => signal.name).find((key) => /^zoom_(step|seeds)$/.test(key));
  const move = KEYS[event.key];
  const [low, high] = view.scale("x").domain();
  const domain = move && [low + move[0] * (high - low), high + move[1] * (high - low)];
  view.signal(name, domain).runAsync();
}
const seen = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting || drawn.has(target)) continue;
    drawn.set(target, null);
    draw(target);
  }
}, { rootMargin: "300px" });
for (const plot of all(".plot")) {
  seen.observe(plot);
  plot.addEventListener("keydown", zoom);
}
named();

// A link to a claim opens it.
const opened = () => { const target = document.getElementById(location.hash.slice(1)); if (target?.matches("details")) target.open = true; };
addEventListener("hashchange", opened);
opened();
