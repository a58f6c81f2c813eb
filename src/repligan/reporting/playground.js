// The two toys, trained in the browser: the pipeline's random draws, and torch's float32 arithmetic on a CPU with AVX2.
// First the numbers, which tests compare with the pipeline's; then the page. docs/playground.md says more.
"use strict";

(() => {
  const f32 = Math.fround;
  const last = (list) => list[list.length - 1];
  const mean = (values) => values.reduce((sum, x) => sum + x, 0) / values.length;

  // --- float32 as torch's vector kernels compute it ---

  /** a * b + c with one rounding, as an FMA instruction does; all float32. */
  function fma(a, b, c) {
    const product = a * b; // exact in 53 bits
    const sum = product + c;
    const near = f32(sum);
    const rest = sum - near;
    const other = near + 2 * rest;
    if (rest === 0 || f32(other) !== other) return near;
    // Halfway between two float32: what the sum's own rounding lost decides.
    const added = sum - product;
    const lost = product - (sum - added) + (c - added);
    return Math.sign(lost) === Math.sign(rest) ? other : near;
  }

  const POWERS = Float64Array.from({ length: 310 }, (_, i) => 2 ** (i - 155));
  const EXP = [
    0.000198527617612853646278381, 0.00139304355252534151077271, 0.00833336077630519866943359,
    0.0416664853692054748535156, 0.166666671633720397949219, 0.5,
  ].map(f32);
  const [LOG2_E, LN2_HIGH, LN2_LOW] = [1.4426950408889634, -0.693145751953125, -1.428606765330187045e-6].map(f32);
  const TO_INTEGER = 1.5 * 2 ** 52; // adding it rounds to the nearest integer, halves to even

  /** Sleef's expf with an error of 1 ulp (Shibata and Petrogalli 2020), which torch's sigmoid calls. */
  function exp(x) {
    if (x < -104) return 0;
    if (x > 100) return Infinity;
    const power = f32(x * LOG2_E) + TO_INTEGER - TO_INTEGER;
    const s = fma(power, LN2_LOW, fma(power, LN2_HIGH, x));
    let u = EXP[0];
    for (let i = 1; i < EXP.length; i++) u = fma(u, s, EXP[i]);
    u = f32(1 + fma(f32(s * s), u, s));
    return f32(u * POWERS[power + 155]);
  }

  const sigmoid = (x) => f32(1 / f32(1 + exp(-x)));

  // --- random draws: see core/randomness.py ---

  const [WORD, M0, M1] = [2n ** 64n - 1n, 0xd2e7470ee14c6c93n, 0xca5a826395121157n];
  const [W0, W1] = [0x9e3779b97f4a7c15n, 0xbb67ae8584caa73bn];

  function crc32(text) {
    let crc = -1;
    for (const letter of text) {
      crc ^= letter.charCodeAt(0);
      for (let k = 0; k < 8; k++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return (crc ^ -1) >>> 0;
  }

  /** The first `num` 64-bit words of numpy's Philox4x64-10 of (seed, stream, index). */
  function philox(seed, stream, index, num) {
    const out = new BigUint64Array(Math.ceil(num / 4) * 4);
    const key = BigInt(crc32(stream));
    for (let i = 0; i < num; i += 4) {
      let [a, b, c, d, k0, k1] = [BigInt(i / 4 + 1), 0n, 0n, BigInt(index), BigInt(seed), key];
      for (let round = 0; round < 10; round++) {
        const [p, q] = [M0 * a, M1 * c];
        [a, b, c, d] = [(q >> 64n) ^ b ^ k0, q & WORD, (p >> 64n) ^ d ^ k1, p & WORD];
        [k0, k1] = [(k0 + W0) & WORD, (k1 + W1) & WORD];
      }
      out.set([a, b, c, d], i);
    }
    return out.subarray(0, num);
  }

  const uniform = (word, low, high) => low + (high - low) * (Number(word >> 11n) / 2 ** 53);

  const BLOCK = 250; // steps drawn at once, as in core/draws.py

  /** `draws(i)`: the `count` numbers of kind `Kind` that one stream has for the i-th batch. */
  function draws(seed, stream, Kind, count) {
    const num = Math.ceil((BLOCK * count * Kind.BYTES_PER_ELEMENT) / 8);
    let [block, drawn] = [-1, null];
    return (i) => {
      if (Math.floor(i / BLOCK) !== block) {
        block = Math.floor(i / BLOCK);
        drawn = new Kind(philox(seed, stream, block, num).buffer);
      }
      return drawn.subarray((i % BLOCK) * count, (i % BLOCK + 1) * count);
    };
  }

  // --- the toys' data and z ---

  const EVENS = 64; // the even numbers below 128, in 7 bits
  const BOX = { low: [0.8, 0, 0.8, 0].map(f32), high: [1, 0.2, 1, 0.2].map(f32) };
  const bits = (number, width) => Array.from({ length: width }, (_, j) => (number >> (width - 1 - j)) & 1);

  /** `real(i)`: the i-th real batch, float32 [batch, dim] row by row. */
  function realBatches(dataset, seed, batch) {
    if (dataset === "even") {
      const share = draws(seed, "real", Uint32Array, batch);
      return (i) => Float32Array.from([...share(i)].flatMap((x) => bits(2 * Math.floor((x * EVENS) / 2 ** 32), 7)));
    }
    const span = BOX.high.map((high, j) => f32(high - BOX.low[j]));
    const drawn = draws(seed, "real", Uint32Array, 4 * batch);
    return (i) => Float32Array.from(drawn(i), (x, k) => f32(f32((x >>> 8) / 2 ** 24) * span[k % 4]) + BOX.low[k % 4]);
  }

  const lowBits = (bytes, dim) => Float32Array.from([...bytes].flatMap((x) => bits(x, 8).reverse().slice(0, dim)));

  /** `noise(i)`: the i-th batch of z. */
  function noise(z, seed, batch) {
    if (z.kind === "constant") return () => new Float32Array(batch * z.dim).fill(z.low);
    const drawn = draws(seed, "z", Uint8Array, batch);
    return (i) => lowBits(drawn(i), z.dim);
  }

  // --- networks: see models/mlp.py and training/gradients.py ---

  /** out[i, j] = sum over k of x[i, k] y[k, j], k by k, on top of itself if `again`; [xi, xk], [yk, yj]: strides. */
  function multiply(out, [rows, columns, inner], x, [xi, xk], y, [yk, yj], again = false) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        let sum = again ? out[i * columns + j] : 0; // 0 first changes no weight's bits
        for (let k = 0; k < inner; k++) sum = fma(x[i * xi + k * xk], y[k * yk + j * yj], sum);
        out[i * columns + j] = sum;
      }
    }
    return out;
  }

  /** [num, n] -> [num, n + 1]: a last column of 1, the bias's input. */
  function withOnes(x, n) {
    const out = new Float32Array(x.length + x.length / n).fill(1);
    for (let i = 0; i * n < x.length; i++) out.set(x.subarray(i * n, (i + 1) * n), i * (n + 1));
    return out;
  }

  /** An MLP; `flat` holds of each layer a row an input, the last one the bias. */
  class Mlp {
    constructor(widths, squash, seed, stream) {
      const size = widths.slice(1).reduce((sum, m, i) => sum + (widths[i] + 1) * m, 0);
      const drawn = philox(seed, stream, 0, size);
      Object.assign(this, { widths, squash, flat: new Float32Array(size), grad: new Float32Array(size), layers: [] });
      for (let i = 0, at = 0; i + 1 < widths.length; i++) {
        const [n, m, k] = [widths[i], widths[i + 1], widths[i] ** -0.5];
        const [weight, grad] = [this.flat, this.grad].map((all) => all.subarray(at, at + (n + 1) * m));
        this.layers.push({ n, m, weight, grad });
        weight.forEach((_, j) => (weight[j] = uniform(drawn[at + j], -k, k)));
        at += weight.length;
      }
    }

    /** Activations [num, width] of every layer, the input's first. */
    forward(x) {
      const [at, num] = [[x], x.length / this.widths[0]];
      this.layers.forEach(({ n, m, weight }, i) => {
        const [x1, sums] = [withOnes(at[i], n), new Float32Array(num * m)];
        const out = multiply(sums, [num, m, n + 1], x1, [n + 1, 1], weight, [m, 1]);
        at.push(this.squash || i + 1 < this.layers.length ? out.map(sigmoid) : out);
      });
      return at;
    }

    /** From the gradient by the last layer's sums to the weights' where it `learns`, else on to that by the input. */
    backward(at, delta, learns, again) {
      for (let i = this.layers.length - 1; i >= 0; i--) {
        const { n, m, weight, grad } = this.layers[i];
        const num = delta.length / m;
        if (learns) multiply(grad, [n + 1, m, num], withOnes(at[i], n), [1, n + 1], delta, [m, 1], again);
        if (i || !learns) delta = multiply(new Float32Array(num * n), [num, n, m], delta, [m, 1], weight, [1, m]);
        if (i) squashedBack(delta, at[i]);
      }
      return delta;
    }
  }

  /** A gradient by a sigmoid's output -> by its input, in place. */
  function squashedBack(delta, out) {
    for (let k = 0; k < delta.length; k++) delta[k] = f32(f32(delta[k] * f32(1 - out[k])) * out[k]);
    return delta;
  }

  // --- losses and optimisers: see training/losses.py and training/optimisers.py ---

  const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
  const LOSSES = {
    bce: {
      against: (x, target) => target * softplus(-x) + (1 - target) * softplus(x),
      slope: (x, target, share) => f32(f32(sigmoid(x) - target) * share),
    },
    mse: {
      against: (x, target) => (sigmoid(x) - target) ** 2,
      slope: (x, target, share) => {
        const s = sigmoid(x);
        return squashedBack([f32(f32(s - target) * f32(share + share))], [s])[0];
      },
    },
  };

  /** `step()`: one update of a network's weights from its gradients. */
  function optimiser({ flat, grad }, { kind, beta1, beta2 }, lr) {
    if (kind === "sgd") return () => flat.forEach((w, i) => (flat[i] = fma(grad[i], f32(-lr), w)));
    const [first, second] = [new Float32Array(flat.length), new Float32Array(flat.length)];
    const [b2, c1, c2, eps] = [beta2, 1 - beta1, 1 - beta2, 1e-8].map(f32);
    let step = 0;
    return () => {
      step += 1;
      const size = f32(-lr / (1 - beta1 ** step));
      const scale = f32(Math.sqrt(1 - beta2 ** step));
      for (let i = 0; i < flat.length; i++) {
        const moved = f32(grad[i] - first[i]);
        first[i] = c1 < 0.5 ? fma(c1, moved, first[i]) : fma(f32(c1 - 1), moved, grad[i]);
        second[i] = fma(f32(c2 * grad[i]), grad[i], f32(second[i] * b2));
        const root = f32(f32(f32(Math.sqrt(second[i])) / scale) + eps);
        flat[i] = f32(flat[i] + f32(f32(size * first[i]) / root));
      }
    };
  }

  /** One GAN of one seed, by a row of params.yaml; `optimiser.lr_D` may differ from `lr`. See training/loop.py. */
  class Training {
    constructor(row, seed) {
      const { z, batch, loss, optimiser: config } = row;
      Object.assign(this, { row, seed, step: 0, loss: LOSSES[loss.kind], told: {} });
      this.G = new Mlp(row.G.widths, true, seed, "init_G");
      this.D = new Mlp(row.D.widths, false, seed, "init_D");
      const { lr, lr_D = lr } = config;
      this.descend = { G: optimiser(this.G, config, lr), D: optimiser(this.D, config, lr_D) };
      [this.real, this.noise] = [realBatches(row.dataset, seed, batch), noise(z, seed, batch)];
      this.next = { real: 0, z: 0 };
      this.sides = loss.halves === "mean" ? 2 : 1;
      this.target = f32(1 - loss.smoothing);
      this.updates = row.schedule.flatMap((one) => Array(one.times ?? 1).fill(one));
    }

    /** The schedule's updates, once; `told`: their mean losses, and D's mean outputs of real and generated data. */
    train() {
      const told = { loss_D: [], loss_G: [], D_real: [], D_gen: [] };
      for (const { update, sees } of this.updates) {
        const real = sees.includes("real") ? this.real(this.next.real++) : null;
        if (sees.includes("fresh_z")) this.z = this.noise(this.next.z++);
        if (!["real", "same_img"].includes(last(sees))) this.made = this.G.forward(this.z);
        if (update === "G") this.#ofG(told);
        else this.#ofD(real, last(sees) === "real" ? null : last(this.made), told);
        this.descend[update]();
      }
      this.step += 1;
      this.told = Object.fromEntries(Object.entries(told).map(([key, values]) => [key, mean(values)]));
    }

    /** Whether every weight is a finite number. */
    get finite() {
      return [this.G, this.D].every((net) => net.flat.every(Number.isFinite));
    }

    /** Mean loss of some data against a target, D's activations, and the gradient by its logits. */
    #judge(x, target, sides) {
      const at = this.D.forward(x);
      const share = f32(1 / (this.row.batch * sides));
      const loss = mean([...last(at)].map((logit) => this.loss.against(logit, target)));
      return [loss, at, last(at).map((logit) => this.loss.slope(logit, target, share))];
    }

    #ofD(real, gen, told) {
      const seen = [["D_real", real, this.target], ["D_gen", gen, 0]].filter(([, x]) => x);
      const sides = seen.length === 2 ? this.sides : 1;
      const losses = seen.map(([name, x, target], i) => {
        const [loss, at, delta] = this.#judge(x, target, sides);
        this.D.backward(at, delta, true, i > 0);
        told[name].push(mean([...last(at)].map(sigmoid)));
        return loss / sides;
      });
      told.loss_D.push(losses.reduce((sum, loss) => sum + loss));
    }

    #ofG(told) {
      const [loss, at, delta] = this.#judge(last(this.made), 1, 1);
      told.loss_G.push(loss);
      this.G.backward(this.made, squashedBack(this.D.backward(at, delta, false), last(this.made)), true);
    }
  }

  // --- what is measured: see metrics/toys.py ---

  const SAMPLES = 10;
  const rows = (flat, n) => Array.from({ length: flat.length / n }, (_, i) => flat.subarray(i * n, (i + 1) * n));
  const decode = (out) => out.reduce((sum, x) => 2 * sum + (x >= 0.5 ? 1 : 0), 0);
  const numbers = (training, z) => rows(last(training.G.forward(z)), 7).map(decode);

  /** Of an `even` training: ten numbers of random z, how often each number comes over all z, and its shares. */
  function measureEven(training) {
    const { dim } = training.row.z;
    const every = Float32Array.from(Array.from({ length: 2 ** dim }, (_, i) => bits(i, dim)).flat());
    const few = lowBits(new Uint8Array(philox(training.seed, "sample_z", 0, 2).buffer, 0, SAMPLES), dim);
    const counts = new Array(128).fill(0);
    for (const number of numbers(training, every)) counts[number] += 1;
    const even = counts.filter((_, number) => number % 2 === 0);
    const sampled = numbers(training, few);
    const evens = sampled.filter((number) => number % 2 === 0).length;
    const even_rate = even.reduce((sum, count) => sum + count) / 2 ** dim;
    return { sampled, counts, evens, even_rate, coverage: even.filter((count) => count > 0).length / EVENS };
  }

  /** Of a `bits1010` training: G's mean output, whether it says 1010, whether it lies in the real ranges. */
  function measureBits(training) {
    const out = [...last(training.G.forward(new Float32Array(training.row.z.dim).fill(training.row.z.low)))];
    return { out, match: decode(out) === 0b1010, inside: out.every((x, j) => x >= BOX.low[j] && x <= BOX.high[j]) };
  }

  const measure = (training) => (training.row.dataset === "even" ? measureEven(training) : measureBits(training));

  // --- settings ---

  const runsHere = ({ z, G, D, loss }) =>
    ["bits", "constant"].includes(z.kind) && G.kind === "mlp" && D.kind === "mlp" && loss.kind in LOSSES;

  /** Field -> value of a row of params.yaml. */
  function toFields({ steps, batch, loss, optimiser: { kind, lr, beta1 = 0.9, beta2 = 0.999 }, z, G, D }) {
    const [hidden_G, hidden_D] = [G, D].map(({ widths }) => widths.slice(1, -1).join(", "));
    const values = { steps, batch, loss: loss.kind, halves: loss.halves, smoothing: loss.smoothing, optimiser: kind };
    return { ...values, lr_G: lr, lr_D: lr, beta1, beta2, z: z.kind === "bits" ? z.dim : z.low, hidden_G, hidden_D };
  }

  /** `row` with the values of fields, which are strings. */
  function fromFields(row, { loss, halves, optimiser: kind, hidden_G, hidden_D, ...strings }) {
    const numbers = Object.entries(strings).map(([name, value]) => [name, Number(value)]);
    const { steps, batch, smoothing, lr_G: lr, lr_D, beta1, beta2, z: value } = Object.fromEntries(numbers);
    const z = row.z.kind === "bits" ? { ...row.z, dim: value } : { ...row.z, low: value };
    const net = (n, hidden, m) => ({ widths: [n, ...hidden.split(",").filter((x) => x.trim()).map(Number), m] });
    const [G, D] = [net(z.dim, hidden_G, last(row.G.widths)), net(row.D.widths[0], hidden_D, 1)];
    const optimiser = { kind, lr, lr_D, beta1, beta2 };
    return { ...row, z, G, D, steps, batch, optimiser, loss: { kind: loss, halves, smoothing } };
  }

  // --- drawing ---

  /** A canvas of its size on the screen, cleared, with the page's colours. */
  function cleared(canvas) {
    const [style, ratio] = [getComputedStyle(canvas), globalThis.devicePixelRatio || 1];
    const { clientWidth: width, clientHeight: height } = canvas;
    [canvas.width, canvas.height] = [width * ratio, height * ratio];
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    Object.assign(pen, { font: "11px system-ui", textAlign: "center", textBaseline: "middle" });
    const [a, b, on] = ["a", "b", "on"].map((name) => style.getPropertyValue(`--pg-${name}`));
    return { pen, width, height, ink: style.color, a, b, on };
  }

  /** A cell as full of `colour` as `share` says, with a text where it has room. */
  function drawCell({ pen, ink, on }, x, y, w, h, colour, share, text) {
    Object.assign(pen, { fillStyle: colour, globalAlpha: share, strokeStyle: ink });
    pen.fillRect(x, y, w - 1, h - 1);
    pen.globalAlpha = 0.2;
    pen.strokeRect(x + 0.5, y + 0.5, w - 2, h - 2);
    pen.font = `${Math.min(11, 0.45 * w)}px system-ui`;
    Object.assign(pen, { globalAlpha: 1, fillStyle: share > 0.5 ? on : ink });
    if (h > 11 && pen.measureText(text).width < w - 2) pen.fillText(text, x + w / 2, y + h / 2);
  }

  /** The numbers 0 to 127, sixteen a row, so that even ones stand above each other. */
  function drawNumbers(canvas, shares, told, odd) {
    const at = cleared(canvas);
    const [w, h] = [at.width / 16, at.height / 8];
    shares.forEach((share, i) => {
      drawCell(at, (i % 16) * w, Math.floor(i / 16) * h, w, h, at[i % 2 ? odd : "a"], share, told ? String(i) : "");
    });
  }

  function drawBars(canvas, out, told) {
    const { pen, width, height, ink, a, b } = cleared(canvas);
    const [floor, w] = [told ? height - 18 : height, 0.15 * width];
    const y = (value) => floor - value * floor;
    out.forEach((value, j) => {
      const x = ((j + 0.2) * width) / 4;
      Object.assign(pen, { fillStyle: a, strokeStyle: b, lineWidth: 2 });
      pen.fillRect(x + w / 4, y(value), w / 2, floor - y(value));
      pen.strokeRect(x, y(BOX.high[j]) + 1, w, y(BOX.low[j]) - y(BOX.high[j]) - 2);
      pen.fillStyle = ink;
      if (told) pen.fillText(value.toFixed(3), x + w / 2, height - 8);
    });
  }

  /** Curves of `points` up to the last step: [key, colour, dashed] each; `ends` of the axis, by default the data's. */
  function drawCurves(canvas, points, lines, steps, ends) {
    const { pen, width, height, ink, ...colours } = cleared(canvas);
    const values = points.flatMap((point) => lines.map(([key]) => point[key])).filter(Number.isFinite);
    const [low, high] = ends ?? [Math.min(...values, 1) * 0.95, Math.max(...values, 0.1) * 1.05];
    const x = (step) => 36 + (step / steps) * (width - 40);
    const y = (value) => height - 18 - ((value - low) / (high - low)) * (height - 26);
    pen.fillStyle = ink;
    for (const value of [low, (low + high) / 2, high]) {
      pen.globalAlpha = 0.2;
      pen.fillRect(x(0), y(value), width - 40, 1);
      pen.globalAlpha = 1;
      pen.fillText(value.toFixed(2), 17, y(value));
    }
    pen.textAlign = "right";
    pen.fillText(`step ${whole(steps)}`, width - 4, height - 7);
    for (const [key, colour, dashed] of lines) {
      pen.beginPath();
      Object.assign(pen, { strokeStyle: colours[colour], lineWidth: 2 });
      pen.setLineDash(dashed ? [5, 4] : []);
      for (const point of points) if (Number.isFinite(point[key])) pen.lineTo(x(point.step), y(point[key]));
      pen.stroke();
    }
  }

  /** Weights of a network: layers one below another, a column an input and the bias, a row an output. */
  function drawWeights(canvas, { layers, widths, flat }, inputs, outputs) {
    const count = widths.slice(1).reduce((sum, m) => sum + m, 0);
    canvas.style.height = `${Math.min(184, 10 + 6 * layers.length + 30 * count)}px`;
    const at = cleared(canvas);
    const name = (text, x, y) => at.pen.fillText(text ?? "", x, y, 34);
    const most = Math.max(1e-9, ...flat.map(Math.abs));
    const h = (at.height - 10 - 6 * layers.length) / count;
    let top = 16;
    layers.forEach(({ n, m, weight }, i) => {
      const w = (at.width - 34) / (n + 1);
      weight.forEach((value, k) => {
        const [x, y] = [34 + Math.floor(k / m) * w, top + (k % m) * h];
        drawCell(at, x, y, w, h, value > 0 ? at.a : at.b, Math.abs(value) / most, value.toFixed(1));
      });
      Object.assign(at.pen, { fillStyle: at.ink, font: "11px system-ui" });
      if (i === 0 && w > 12) [...inputs, "bias"].forEach((text, j) => name(text, 34 + (j + 0.5) * w, 7));
      if (i === layers.length - 1 && h > 9) outputs.forEach((text, o) => name(text, 16, top + (o + 0.5) * h));
      top += m * h + 6;
    });
  }

  function drawMade(canvas, { out, counts }, told) {
    if (out) drawBars(canvas, out, told);
    else drawNumbers(canvas, counts.map((count) => Math.sqrt(count / Math.max(...counts))), told, "b");
  }

  // --- what the page says ---

  const by = (id) => document.getElementById(`pg-${id}`);
  const whole = (x) => x.toLocaleString("en");
  const short = (x) => (Number.isFinite(x) ? x.toFixed(3) : "none yet");
  const PLACES = { even: ["64", "32", "16", "8", "4", "2", "1"], bits1010: ["1st", "2nd", "3rd", "4th"] };
  const ALL = Float32Array.from(Array.from({ length: 128 }, (_, i) => bits(i, 7)).flat());
  const CURVES = {
    even: [["even_rate", "a"], ["coverage", "b", true]],
    bits1010: [["out_0", "a"], ["out_2", "a", true], ["out_1", "b"], ["out_3", "b", true]],
  };

  function inWords({ out, match, inside, evens, even_rate: rate, coverage }) {
    const where = `${inside ? "all" : "not all"} outputs lie where real data lie`;
    if (out) return `G ${match ? "says" : "does not say"} 1010; ${where}.`;
    const numbers = `${coverage * EVENS} of the ${EVENS} even numbers come`;
    return `${evens} of the ten numbers are even. Over all z ${(100 * rate).toFixed(0)} % are even, and ${numbers}.`;
  }

  function summary(done, wanted) {
    const count = (holds) => done.filter(holds).length;
    const of = `${done.length} of ${wanted} seeds trained: `;
    if (done[0].out) return `${of}${count((m) => m.match)} say 1010, ${count((m) => m.inside)} lie where real data lie`;
    const kept = done.map(({ coverage }) => coverage * EVENS);
    const range = `${Math.min(...kept)} to ${Math.max(...kept)} come, ${mean(kept).toFixed(1)} in the mean`;
    return `${of}${count((m) => m.evens === SAMPLES)} have ten even numbers of ten; of the ${EVENS} even ones ${range}`;
  }

  /** What the curves show of a training now. */
  function pointOf(training) {
    const { out = [], even_rate, coverage } = measure(training);
    const outputs = Object.fromEntries(out.map((x, j) => [`out_${j}`, x]));
    return { step: training.step, ...training.told, even_rate, coverage, ...outputs };
  }

  /** Id of a canvas -> how it is drawn, and what it shows in words. */
  function figures({ row: { dataset, steps, z }, D, G }, points, measured) {
    const now = last(points);
    const curves = (lines, ends) => [
      (canvas) => drawCurves(canvas, points, lines, steps, ends),
      `at step ${now.step} ${lines.map(([key]) => `${key} ${short(now[key])}`).join(", ")}`,
    ];
    const weights = (net, ...names) => [
      (canvas) => drawWeights(canvas, net, ...names),
      `layers of ${net.widths.join(", ")}; weights by input: ${[...net.flat.slice(0, 24)].map(short).join(", ")}`,
    ];
    const shown = {
      made: [(canvas) => drawMade(canvas, measured, true), measured.out?.map(short).join(", ") ?? inWords(measured)],
      judged: curves([["D_real", "a"], ["D_gen", "b", true]], [0, 1]),
      losses: curves([["loss_D", "a"], ["loss_G", "b", true]]),
      curves: curves(CURVES[dataset], [0, 1]),
      D: weights(D, PLACES[dataset], []),
      G: weights(G, Array.from({ length: z.dim }, (_, i) => (z.dim > 1 ? `z${i + 1}` : "z")), PLACES[dataset]),
    };
    if (dataset === "bits1010") return shown;
    const found = [...last(D.forward(ALL))].map(sigmoid);
    const [low, high] = [Math.min(...found), Math.max(...found)];
    const shares = found.map((x) => (x - low) / (high - low || 1));
    const words = `pale ${short(low)}, full ${short(high)}`;
    return { ...shown, judged: [(canvas) => drawNumbers(canvas, shares, true, "a"), words] };
  }

  function show(training, points) {
    const measured = measure(training);
    by("at").textContent = `step ${whole(training.step)} of ${whole(training.row.steps)}`;
    by("readout").textContent = inWords(measured);
    by("numbers").replaceChildren(...(measured.sampled ?? []).map((number) => {
      const item = document.createElement("li");
      [item.className, item.textContent] = number % 2 ? ["", `${number} odd`] : ["pg-even", `${number} even`];
      return item;
    }));
    for (const [id, [draw, words]] of Object.entries(figures(training, points, measured))) {
      draw(by(id));
      by(id).setAttribute("aria-label", `${by(id).dataset.is}: ${words}`);
      if (id === "judged") by("range").textContent = words;
    }
  }

  // --- what the page does ---

  const POINTS = 250; // of a curve
  const SLICE = 12; // milliseconds of training a frame

  /** The form, the training in view, and the seeds that train in the background. */
  class Page {
    constructor(experiments) {
      const root = document.querySelector(".playground");
      Object.assign(this, { experiments, root, fields: by("form").elements, points: [], many: null });
      this.fields.experiment.replaceChildren(...Object.keys(experiments).map((name) => new Option(name)));
      const listen = (where, kind, act) => where.addEventListener(kind, act);
      for (const one of [by("form"), this.fields.many]) listen(one, "change", ({ target }) => this.change(target.name));
      listen(by("form"), "submit", (event) => event.preventDefault());
      listen(by("step"), "click", () => this.stepOnce());
      listen(by("run"), "click", () => this.run(!this.running));
      listen(by("reset"), "click", () => this.begin());
      listen(by("many"), "click", () => this.trainMany(Number(this.fields.many.value)));
      listen(globalThis, "resize", () => this.redraw());
      listen(matchMedia("(prefers-color-scheme: dark)"), "change", () => this.redraw());
      // A page may switch its colours by an attribute.
      new MutationObserver(() => this.redraw()).observe(document.documentElement, { attributes: true });
      root.hidden = false;
      this.change("experiment");
    }

    /** A setting has changed. */
    change(name) {
      if (name === "speed") return;
      if (name === "experiment") this.choose();
      if (name !== "seed") this.trainMany(0);
      this.begin();
    }

    /** Fill the form with the chosen row. */
    choose() {
      const { fields, root } = this;
      const row = this.experiments[fields.experiment.value];
      for (const [name, value] of Object.entries(toFields(row))) fields[name].value = value;
      const isBits = row.z.kind === "bits";
      by("z").textContent = isBits ? "bits of z" : "z, always the same";
      Object.assign(fields.z, isBits ? { min: 1, max: 8, step: 1 } : { min: -1000, max: 1000, step: "any" });
      for (const one of root.querySelectorAll("[data-toy]")) one.hidden = one.dataset.toy !== row.dataset;
    }

    /** Start again at step 0, where all settings are allowed. */
    begin() {
      const fields = [...this.fields];
      const wrong = fields.find((field) => !field.checkValidity());
      const said = wrong && `${wrong.labels[0].textContent.trim()}: ${wrong.title || wrong.validationMessage}`;
      for (const id of ["step", "run", "many"]) by(id).disabled = Boolean(wrong);
      this.run(false, said ?? "ready");
      if (wrong) return;
      const { seed, experiment, ...values } = Object.fromEntries(fields.map(({ name, value }) => [name, value]));
      this.training = new Training(fromFields(this.experiments[experiment], values), Number(seed));
      this.points = [pointOf(this.training)];
      this.redraw();
    }

    run(wanted, said = wanted ? "running" : "paused") {
      Object.assign(this, { running: wanted, owed: 0, before: performance.now() });
      by("run").textContent = wanted ? "Pause" : "Run";
      by("state").textContent = said;
      this.loop();
    }

    stepOnce() {
      this.run(false);
      this.advance();
      show(this.training, this.points);
    }

    advance() {
      const { training, points } = this;
      const { steps } = training.row;
      if (training.step >= steps) return this.run(false, "this was the last step");
      training.train();
      if (training.step % Math.ceil(steps / POINTS) && training.step < steps) return undefined;
      points.push(pointOf(training));
      return training.finite || this.run(false, "weights are no longer finite: try a lower learning rate");
    }

    redraw() {
      if (this.training) show(this.training, this.points);
      for (const one of by("tiles").children) one.draw();
    }

    loop() {
      if (!this.looping) requestAnimationFrame((now) => this.frame(now));
      this.looping = true;
    }

    frame(now) {
      const [until, speed] = [performance.now() + SLICE, Number(this.fields.speed.value)];
      if (this.running) {
        this.owed = Math.min(this.owed + ((now - this.before) / 1000) * speed, speed);
        this.before = now;
        for (; this.running && this.owed >= 1 && performance.now() < until; this.owed--) this.advance();
        show(this.training, this.points);
      }
      while (this.many && performance.now() < until) if (this.many.next().done) this.many = null;
      this.looping = false;
      if (this.running || this.many) this.loop();
    }

    trainMany(num) {
      by("tiles").replaceChildren();
      [by("outcome").textContent, by("outcome").ariaBusy] = ["", "true"]; // read out once, at the end
      this.many = num ? this.outcomes(this.training, num) : null;
      this.loop();
    }

    /** Trains seed after seed; pauses after each step. */
    *outcomes({ row, seed }, num) {
      const done = [];
      for (let i = 0; i < num; i++) {
        const one = new Training(row, seed + i);
        for (; one.step < row.steps; yield) one.train();
        done.push(measure(one));
        this.addTile(one.seed, last(done));
        by("outcome").textContent = summary(done, num);
      }
      by("outcome").ariaBusy = "false";
    }

    /** A button with an outcome, which shows that seed. */
    addTile(seed, measured) {
      const [tile, canvas, said] = ["button", "canvas", "span"].map((name) => document.createElement(name));
      const { out, match, evens, coverage } = measured;
      const outcome = out ? (match ? "1010" : "not 1010") : `${evens} of 10 even, ${coverage * EVENS} of ${EVENS}`;
      [tile.type, said.textContent] = ["button", `${seed}: ${outcome}`];
      canvas.setAttribute("aria-hidden", "true");
      tile.append(canvas, said);
      by("tiles").append(tile);
      tile.draw = () => drawMade(canvas, measured, false);
      tile.draw();
      tile.addEventListener("click", () => {
        this.fields.seed.value = seed;
        this.begin();
        this.run(true);
      });
    }
  }

  globalThis.repliganPlayground = { fma, sigmoid, philox, Training, measure, EVENS, BOX };
  const given = JSON.parse(globalThis.document?.getElementById("playground-params")?.textContent ?? "{}");
  const known = Object.keys(PLACES).filter((name) => name in given && runsHere(given[name]));
  if (known.length) new Page(Object.fromEntries(known.map((name) => [name, given[name]])));
})();
