"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const by = (id) => document.getElementById(id);
  const make = (name, text) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const grouped = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, ",");

  // Tree map: a click on a folder lets it fill the map.
  const map = by("treemap");
  if (map && data.folders) {
    const nodes = data.folders.map(([parent, name, title, opens, x, y, w, h]) => ({ parent, name, title, opens, x, y, w, h }));
    const svg = "http://www.w3.org/2000/svg";
    const crumbs = by("crumbs"), said = by("said");
    const width = nodes[0].w, height = nodes[0].h;
    const within = (n, top) => { while (n > top) n = nodes[n].parent; return n === top; };
    const rects = new Map([...map.querySelectorAll("rect")].map((rect) => [Number(rect.dataset.n), rect]));
    const classes = new Map([...rects].map(([n, rect]) => [n, rect.getAttribute("class")]));
    const zoom = (top) => {
      const to = nodes[top];
      const sx = width / to.w, sy = height / to.h;
      const parts = document.createDocumentFragment();
      nodes.forEach((node, n) => {
        if (n === 0 || n === top || !within(n, top)) return;
        const w = node.w * sx, h = node.h * sy, x = (node.x - to.x) * sx, y = (node.y - to.y) * sy;
        if (w < 1 || h < 1) return;
        const rect = document.createElementNS(svg, "rect");
        const kind = classes.get(n) || `c${n % 8} ${node.opens ? "folder" : "file"}`;
        rect.setAttribute("class", kind);
        rect.dataset.n = n;
        for (const [name, value] of Object.entries({ x, y, width: w, height: h })) rect.setAttribute(name, value.toFixed(1));
        const title = document.createElementNS(svg, "title");
        title.textContent = node.title;
        rect.append(title);
        parts.append(rect);
        const room = Math.floor((w - 8) / 6.4);
        // A folder that is small in the whole map has no room above what is in it.
        const free = !node.opens || (node.w > 44 && node.h > 36);
        if (free && h >= 15 && w >= 30 && (node.name.length <= room || room > 3)) {
          const text = document.createElementNS(svg, "text");
          text.setAttribute("class", kind.split(" ")[1]);
          text.setAttribute("x", (x + 5).toFixed(1));
          text.setAttribute("y", (y + 12.5).toFixed(1));
          const letters = [...node.name];
          text.textContent = letters.length <= room ? node.name : letters.slice(0, room - 1).join("") + "\u2026";
          parts.append(text);
        }
      });
      map.replaceChildren(parts);
      const path = [];
      for (let n = top; n > 0; n = nodes[n].parent) path.unshift(n);
      crumbs.replaceChildren(...[0, ...path].map((n) => {
        const button = make("button", n === 0 ? "all" : nodes[n].name);
        button.disabled = n === top;
        button.addEventListener("click", () => zoom(n));
        return button;
      }), said);
      said.textContent = "";
    };
    map.addEventListener("click", (event) => {
      let n = Number(event.target.dataset.n);
      if (!n) return;
      if (!nodes[n].opens) n = nodes[n].parent;
      if (n > 0 && nodes[n].w > 0.5 && nodes[n].h > 0.5) zoom(n);
    });
    map.addEventListener("mouseover", (event) => {
      const n = Number(event.target.dataset.n);
      said.textContent = n ? nodes[n].title : "";
    });
    crumbs.hidden = false;
  }

  // Player of frames.
  if (!data.frames || data.frames.length === 0) return;
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const decoded = (frame, before) => {
    if (!frame || frame.xyz || frame.nothing) return frame;
    frame.xyz = new Float32Array(bytes(frame.positions).buffer);
    frame.kinds = frame.elements === undefined ? before.kinds : bytes(frame.elements);
    const pairs = frame.bonds;
    frame.pairs = pairs === undefined ? before.pairs : pairs === null ? null : new Uint32Array(bytes(pairs).buffer);
    delete frame.positions;
    return frame;
  };
  data.frames.forEach((frame, n) => decoded(frame, data.frames[n - 1]));
  const count = data.live ? data.live.records : data.frames.length;
  let shown = data.live ? data.frames[0].record : 0;

  const tell = (frame) => {
    by("frame-name").textContent = frame.name;
    const of = data.live ? `record ${grouped(frame.record)} of ${grouped(count)}, counted from 0` : `frame ${grouped(shown + 1)} of ${grouped(count)} shown, record ${grouped(frame.record)}`;
    by("frame-number").textContent = of;
    const rows = frame.nothing ? [["", frame.nothing]] : [["atoms", grouped(frame.atoms)], ...frame.singles];
    by("frame-values").replaceChildren(...rows.map(([name, value]) => {
      const row = make("tr"), cell = make("td", value);
      cell.className = "n";
      row.append(make("th", name), cell);
      return row;
    }));
    document.querySelectorAll(".plot[data-along]").forEach((plot) => {
      const x = plot.dataset.along === "record" ? frame.record : frame[plot.dataset.along];
      const { from, to, left, width } = Object.fromEntries(Object.entries(plot.dataset).map(([k, v]) => [k, Number(v)]));
      const cursor = plot.querySelector(".cursor");
      const at = left + width * (x - from) / (to - from);
      cursor.classList.toggle("on", Number.isFinite(at) && count > 1);
      if (Number.isFinite(at)) { cursor.setAttribute("x1", at); cursor.setAttribute("x2", at); }
    });
  };
  tell(data.frames[0]);

  const canvas = by("canvas");
  const webgl = () => { const probe = make("canvas"); return probe.getContext("webgl2") || probe.getContext("webgl"); };
  if (!canvas || typeof $3Dmol === "undefined" || !webgl()) return;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const ground = () => getComputedStyle(document.body).getPropertyValue("--card").trim();
  canvas.hidden = false;
  by("controls").hidden = false;
  by("still").hidden = true;
  let viewer;
  try {
    viewer = $3Dmol.createViewer(canvas, { backgroundColor: ground(), antialias: true });
  } catch (error) {
    canvas.hidden = true;
    by("still").hidden = false;
    return;
  }
  dark.addEventListener("change", () => { viewer.setBackgroundColor(ground()); show(shown); });

  const finite = (frame, n) => Number.isFinite(frame.xyz[3 * n]) && Number.isFinite(frame.xyz[3 * n + 1]) && Number.isFinite(frame.xyz[3 * n + 2]);
  // As the drawing does it: a grid of cells, and covalent radii.
  const nearPairs = (frame) => {
    const n = frame.kinds.length;
    if (!data.lengths || n > 20000 || frame.every > 1) return [];
    const radius = (atom) => data.elements[frame.kinds[atom]].radius;
    let edge = 0.3;
    for (const kind of new Set(frame.kinds)) edge = Math.max(edge, data.elements[kind].radius);
    edge = 2 * edge + 0.45;
    const cells = new Map(), place = (atom) => [0, 1, 2].map((axis) => Math.floor(frame.xyz[3 * atom + axis] / edge));
    const found = [];
    for (let atom = 0; atom < n; atom++) {
      if (!finite(frame, atom)) continue;
      const [a, b, c] = place(atom);
      for (let i = -1; i <= 1; i++) for (let j = -1; j <= 1; j++) for (let k = -1; k <= 1; k++) {
        for (const other of cells.get(`${a + i},${b + j},${c + k}`) || []) {
          const d = Math.hypot(...[0, 1, 2].map((axis) => frame.xyz[3 * atom + axis] - frame.xyz[3 * other + axis]));
          const hydrogens = frame.kinds[atom] === 1 && frame.kinds[other] === 1;
          const known = [atom, other].every((n) => frame.kinds[n] > 0 && frame.kinds[n] < 128);
          if (d > 0.4 && known && !hydrogens && d < radius(atom) + radius(other) + 0.45) found.push(other, atom);
          if (found.length > 16 * n) return [];
        }
      }
      const key = `${a},${b},${c}`;
      if (cells.has(key)) cells.get(key).push(atom); else cells.set(key, [atom]);
    }
    return found;
  };
  const distance = (frame, a, b) => Math.hypot(...[0, 1, 2].map((axis) => frame.xyz[3 * a + axis] - frame.xyz[3 * b + axis]));

  // The elements for which the view was chosen.
  let placed = "";
  const draw = (frame) => {
    viewer.removeAllModels();
    viewer.removeAllShapes();
    const n = frame.kinds.length;
    const places = new Int32Array(n).fill(-1), atoms = [];
    let low = [Infinity, Infinity, Infinity], high = low.map((x) => -x);
    for (let atom = 0; atom < n; atom++) {
      if (!finite(frame, atom)) continue;
      places[atom] = atoms.length;
      const [x, y, z] = frame.xyz.subarray(3 * atom, 3 * atom + 3);
      [x, y, z].forEach((value, axis) => { low[axis] = Math.min(low[axis], value); high[axis] = Math.max(high[axis], value); });
      atoms.push({ elem: data.elements[frame.kinds[atom]].symbol, x, y, z, serial: atom, index: atoms.length, bonds: [], bondOrder: [], properties: { kind: frame.kinds[atom] } });
    }
    const pairs = frame.pairs || nearPairs(frame);
    let bonded = 0;
    for (let nth = 0; nth + 1 < pairs.length; nth += 2) {
      const [a, b] = [places[pairs[nth]], places[pairs[nth + 1]]];
      // Across the border of the cell, a bond would be a line through it.
      if (a === undefined || b === undefined || a < 0 || b < 0 || distance(frame, pairs[nth], pairs[nth + 1]) > 4) continue;
      atoms[a].bonds.push(b); atoms[a].bondOrder.push(1);
      atoms[b].bonds.push(a); atoms[b].bondOrder.push(1);
      bonded++;
    }
    const model = viewer.addModel();
    model.addAtoms(atoms);
    const volume = [0, 1, 2].reduce((product, axis) => product * Math.max(high[axis] - low[axis], 1e-3), 1);
    const mean = Math.cbrt(volume / Math.max(atoms.length, 1));
    const mode = by("style").value;
    for (const kind of new Set(frame.kinds)) {
      const element = data.elements[kind];
      const full = data.lengths ? element.radius : 0.33 * mean;
      const radius = mode === "large" ? 1.6 * full : bonded ? 0.4 * full : Math.min(full, 0.4 * Math.max(mean, 1));
      const style = mode === "lines" && bonded ? { line: { color: element.colour } } : { sphere: { radius, color: element.colour } };
      if (bonded && mode === "balls") style.stick = { radius: 0.13, color: element.colour };
      model.setStyle({ predicate: (atom) => atom.properties.kind === kind }, style);
    }
    if (frame.cell) {
      const corner = (bits) => {
        const [x, y, z] = [0, 1, 2].map((axis) => frame.cell.reduce((sum, row, v) => sum + (bits >> v & 1 ? row[axis] : 0), frame.origin[axis]));
        return { x, y, z };
      };
      const color = dark.matches ? "#78808c" : "#8a929e";
      for (let bits = 0; bits < 8; bits++) for (let v = 0; v < 3; v++) {
        if (!(bits >> v & 1)) viewer.addLine({ start: corner(bits), end: corner(bits | 1 << v), color });
      }
    }
    const system = `${n} ${frame.kinds.join()}`;
    if (system !== placed) {
      viewer.zoomTo();
      if (placed === "") { viewer.rotate(18, "x"); viewer.rotate(-24, "y"); }
      // Small molecules would be lost in the middle.
      const span = Math.hypot(...[0, 1, 2].map((axis) => high[axis] - low[axis]));
      if (!frame.cell && span < 9) viewer.zoom(Math.min(2.2, 12 / (span + 3)));
      placed = system;
    }
    viewer.render();
  };

  const slider = by("slider"), play = by("play");
  slider.max = count - 1;
  slider.value = shown;
  // Frames of a live page, the newest asked for last.
  const cache = new Map(data.frames.map((frame, n) => [data.live ? frame.record : n, frame]));
  const get = async (n) => {
    if (cache.has(n)) return cache.get(n);
    const answer = await fetch(`${data.live.frames}${n}`);
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    const frame = decoded(await answer.json());
    cache.set(n, frame);
    if (cache.size > 64) cache.delete(cache.keys().next().value);
    return frame;
  };
  let wanted = shown;
  const show = async (n) => {
    wanted = n;
    let frame;
    try { frame = await get(n); } catch (error) { frame = { name: "", record: n, nothing: String(error.message || error) }; }
    // Another one was asked for meanwhile.
    if (wanted !== n) return;
    shown = n;
    slider.value = n;
    tell(frame);
    if (frame.nothing) { viewer.removeAllModels(); viewer.removeAllShapes(); viewer.render(); } else draw(frame);
  };
  slider.addEventListener("input", () => show(Number(slider.value)));
  by("style").addEventListener("change", () => show(shown));
  let playing = false;
  const step = async () => {
    if (!playing) return;
    const begun = performance.now();
    await show((shown + 1) % count);
    setTimeout(step, Math.max(30, Number(by("speed").value) - (performance.now() - begun)));
  };
  play.addEventListener("click", () => {
    playing = !playing;
    play.textContent = playing ? "Pause" : "Play";
    step();
  });
  if (count < 2) { play.hidden = slider.hidden = by("speed").hidden = true; }
  show(shown);
})();
