"use strict";
/* Charts of one clip: made when they come near the screen, one x-range for all, cursor shared through uPlot.sync. */
document.documentElement.classList.add("js");
const $ = (query, at = document) => at.querySelector(query);
const $$ = (query, at = document) => Array.from(at.querySelectorAll(query));
const DATA = JSON.parse($("#report-data").textContent);
const clock = ms => Math.floor(ms / 60000) + ":" + (ms % 60000 / 1000).toFixed(ms % 1000 ? 2 : 0).padStart(ms % 1000 ? 5 : 2, "0");
const shown = x => x == null ? "not measured" : (Math.abs(x) >= 100 ? x.toFixed(0) : x.toFixed(2)).replace("-", "−");

function columns(p) {
  let at = 0;
  const t = p.t.map(d => (at += d));
  const gap = i => p.g[i] === "1";
  const side = (k, ingap) => p.v.map((v, i) => v == null || p.s[i] == null || (gap(i) && !ingap) ? null : v + k * p.s[i]);
  const line = p.v.map((v, i) => gap(i) ? null : v);
  return [t, line, side(1.96, true), side(-1.96, true), side(1, false), side(-1, false)];
}

function ticks(a, b) {
  const step = [100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5].find(s => (b - a) / s <= 7) || 36e5;
  const out = [];
  for (let t = Math.ceil(a / step) * step; t < b; t += step) out.push(t);
  return out;
}

class Clip {
  constructor(data) {
    this.data = data;
    this.node = document.getElementById(data.dom);
    this.range = data.range;
    this.charts = new Map();
    this.spans = [];               // what is highlighted: [start, end, track, evidence id]
    this.panels = new Map(data.panels.map(p => [p.key, p]));
    const near = new IntersectionObserver(seen => seen.forEach(s => s.isIntersecting && this.draw(s.target)), { rootMargin: "600px" });
    $$(".panel", this.node).forEach(n => near.observe(n));
    new ResizeObserver(() => this.resize()).observe($(".clock", this.node));
    const whole = $(".whole", this.node);
    whole.addEventListener("click", () => this.zoom(data.range));
  }

  draw(node) {
    const key = node.dataset.panel, p = this.panels.get(key), box = $(".plot", node);
    if (this.charts.has(key) || !box.clientWidth) return;
    const css = name => getComputedStyle(node).getPropertyValue(name).trim();
    const tint = alpha => () => css("--c") + alpha;
    const gutter = parseInt(css("--gutter")), right = parseInt(css("--right"));
    const edge = { stroke: "transparent", width: 0, points: { show: false } };
    const readout = $(".readout", node), v = p.v, columnsOf = columns(p);
    const chart = new uPlot({
      width: box.clientWidth, height: box.clientHeight, padding: [6, right, 4, 0], legend: { show: false },
      cursor: { y: false, points: { show: false }, sync: { key: this.data.dom }, drag: { x: true, y: false, setScale: false }, bind: { dblclick: () => () => { this.zoom(this.data.range); } } },
      select: { show: true, left: 0, top: 0, width: 0, height: 0 },
      scales: { x: { time: false, range: () => this.range }, y: { range: () => p.range } },
      axes: [
        { size: 0, splits: () => ticks(...this.range), values: () => [], ticks: { show: false }, grid: { stroke: () => css("--line"), width: 1 } },
        { size: gutter, gap: 3, space: 26, font: "11px system-ui, sans-serif", stroke: () => css("--muted"), ticks: { show: false }, grid: { stroke: () => css("--faint"), width: 1 }, values: (u, s) => s.map(x => String(x).replace("-", "−")) },
      ],
      series: [{}, { stroke: () => css("--c"), width: 1.75, points: { show: false } }, edge, edge, edge, edge],
      bands: [{ series: [2, 3], fill: tint("2b") }, { series: [4, 5], fill: tint("55") }],
      hooks: {
        drawClear: [u => this.hatch(u, p.gaps, css("--missing"))],
        setSelect: [u => {
          if (u.select.width < 4) return;
          const a = u.posToVal(u.select.left, "x"), b = u.posToVal(u.select.left + u.select.width, "x");
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          this.zoom([a, b]);
        }],
        setCursor: [u => {
          const i = u.cursor.idx;
          readout.textContent = i == null || u.cursor.left < 0 ? "" : clock(columnsOf[0][i]) + "  " + (p.g[i] === "1" ? "not measured" : shown(v[i]) + (p.s[i] == null ? "" : " ± " + shown(p.s[i])));
        }],
        ready: [u => this.overlay(node, u)],
        setScale: [(u, s) => s === "x" && this.overlay(node, u)],
        setSize: [u => this.overlay(node, u)],
      },
    }, columnsOf, box);
    this.charts.set(key, { chart, node, box });
    this.overlay(node, chart);
  }

  hatch(u, gaps, colour) {
    const { ctx } = u, { left, top, width, height } = u.bbox, step = 7 * devicePixelRatio;
    ctx.save();
    ctx.strokeStyle = colour; ctx.lineWidth = devicePixelRatio; ctx.globalAlpha = .5;
    for (const [a, b] of gaps) {
      const x0 = Math.max(left, u.valToPos(a, "x", true)), x1 = Math.min(left + width, u.valToPos(b, "x", true));
      if (x1 <= x0) continue;
      ctx.save();
      ctx.beginPath(); ctx.rect(x0, top, x1 - x0, height); ctx.clip();
      ctx.beginPath();
      for (let x = Math.floor((x0 - height) / step) * step; x < x1; x += step) { ctx.moveTo(x, top + height); ctx.lineTo(x + height, top); }
      ctx.stroke();
      ctx.restore();
    }
    ctx.restore();
  }

  overlay(node, u) {
    $$(".hl", u.over).forEach(n => n.remove());
    const [a, b] = this.range, track = node.dataset.track;
    for (const [s, e, who, id] of this.spans) {
      if (e < a || s > b || (who && track && who !== track)) continue;
      const mark = document.createElement("div");
      mark.className = "hl"; mark.dataset.ev = id; mark.title = clock(s) + " – " + clock(e);
      mark.style.left = 100 * (Math.max(s, a) - a) / (b - a) + "%";
      mark.style.width = 100 * (Math.min(e, b) - Math.max(s, a)) / (b - a) + "%";
      u.over.append(mark);
    }
  }

  highlight(spans) { this.spans = spans; this.charts.forEach(c => this.overlay(c.node, c.chart)); }

  zoom([a, b]) {
    if (b - a < 200) return;
    this.range = [a, b];
    const whole = a === this.data.range[0] && b === this.data.range[1];
    $(".whole", this.node).hidden = whole;
    const share = t => 100 * (t - a) / (b - a);
    $$(".mark", this.node).forEach(m => {
      const s = share(+m.dataset.s), e = share(+m.dataset.e);
      m.setAttribute("x", s + "%"); m.setAttribute("width", Math.max(.4, e - s) + "%");
      m.classList.toggle("is-off", e < 0 || s > 100);
    });
    this.fit();
    const ruler = $(".ruler svg", this.node);
    ruler.replaceChildren(...ticks(a, b).filter(t => share(t) <= 96).map(t => {
      const label = document.createElementNS("http://www.w3.org/2000/svg", "text");
      label.setAttribute("x", share(t) + "%"); label.setAttribute("y", 13); label.textContent = clock(t);
      return label;
    }));
    this.charts.forEach(c => c.chart.setScale("x", { min: a, max: b }));
  }

  resize() {
    $$(".panel", this.node).forEach(n => n.getBoundingClientRect().top < innerHeight + 600 && n.getBoundingClientRect().bottom > -600 && this.draw(n));
    this.fit();
    const side = $(".clock", this.node);   // beside a long list of claims the clock stays in sight, its lower end first
    side.style.top = Math.min(52, innerHeight - side.offsetHeight - 16) + "px";
    this.charts.forEach(c => c.box.clientWidth && c.box.clientWidth !== c.chart.width && c.chart.setSize({ width: c.box.clientWidth, height: c.box.clientHeight }));
  }

  fit() {
    $$(".mark", this.node).forEach(m => {
      const text = $("text", m);
      if (text) m.classList.toggle("no-text", m.getBoundingClientRect().width < 8 + 6 * Math.min(6, text.textContent.length));
    });
  }

  drawAll() { $$(".panel", this.node).forEach(n => this.draw(n)); }
  repaint() { this.charts.forEach(c => c.chart.redraw(false, true)); }
}

const CLIPS = DATA.map(d => new Clip(d));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => CLIPS.forEach(c => c.repaint()));
addEventListener("beforeprint", () => $$("details").forEach(d => { d.open = true; }));
addEventListener("beforeprint", () => CLIPS.forEach(c => { c.drawAll(); c.resize(); c.repaint(); }));
