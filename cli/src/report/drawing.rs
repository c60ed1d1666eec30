//! One frame as SVG, seen from far away: atoms, bonds and the cell, the nearest last.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::fmt::Write;

use super::elements;
use super::escape::html;
use super::scene::Scene;

/// The most atoms that are drawn. Those that are nearest hide the others in any case.
const MOST: usize = 4000;

/// Atoms above which bonds are not looked for.
const MOST_WITH_BONDS: usize = 20_000;

/// Two atoms are bonded if they are nearer than the sum of their covalent radii and this, in angstrom.
///
/// # Source
/// Noel M. O'Boyle and others, "Open Babel: an open chemical toolbox", Journal of Cheminformatics 2011, 3:33.
const SLACK: f64 = 0.45;

const SIZE: f64 = 560.0;

/// A piece of the drawing, and how near it is.
struct Piece {
    depth: f64,
    svg: String,
}

/// Pairs of atoms that are bonded: those that the file names, or those that are near enough.
pub(crate) fn bonds(scene: &Scene) -> Vec<[u32; 2]> {
    if let Some(bonds) = &scene.bonds {
        // Across the border of the cell, a bond would be a line through it.
        let near = |bond: &&[u32; 2]| {
            let [a, b] =
                bond.map(|atom| scene.positions.get(atom as usize).copied().unwrap_or([f32::NAN; 3]));
            distance(a, b) < 4.0
        };
        return bonds.iter().filter(near).copied().collect();
    }
    if scene.every > 1 || scene.positions.len() > MOST_WITH_BONDS {
        return Vec::new();
    }
    let longest = scene.elements.iter().collect::<BTreeSet<_>>().into_iter().map(|&z| elements::radius(z));
    let edge = 2.0 * longest.fold(0.3, f64::max) + SLACK;
    #[allow(clippy::cast_possible_truncation, reason = "cells far away are one cell")]
    let place = |p: &[f32; 3]| p.map(|x| (f64::from(x) / edge).floor() as i32);
    let mut cells: HashMap<[i32; 3], Vec<u32>> = HashMap::new();
    for (n, p) in (0..).zip(&scene.positions) {
        if p.iter().all(|x| x.is_finite()) {
            cells.entry(place(p)).or_default().push(n);
        }
    }
    let mut found = Vec::new();
    for (n, p) in (0_u32..).zip(&scene.positions) {
        if !p.iter().all(|x| x.is_finite()) {
            continue;
        }
        let of = place(p);
        for near in 0..27 {
            let offset = [near % 3 - 1, near / 3 % 3 - 1, near / 9 - 1];
            let cell = std::array::from_fn(|axis| of[axis].saturating_add(offset[axis]));
            for &other in cells.get(&cell).into_iter().flatten().filter(|&&other| other > n) {
                let limit = elements::radius(scene.elements[n as usize])
                    + elements::radius(scene.elements[other as usize])
                    + SLACK;
                let is_known =
                    [n, other].into_iter().all(|atom| elements::is_known(scene.elements[atom as usize]));
                let hydrogens = scene.elements[n as usize] == 1 && scene.elements[other as usize] == 1;
                let d = distance(*p, scene.positions[other as usize]);
                if d < limit && d > 0.4 && is_known && !hydrogens {
                    found.push([n, other]);
                    // Atoms that lie on each other have no bonds worth drawing.
                    if found.len() > 8 * scene.positions.len() {
                        return Vec::new();
                    }
                }
            }
        }
    }
    found
}

fn distance(a: [f32; 3], b: [f32; 3]) -> f64 {
    (0..3).map(|axis| f64::from(a[axis] - b[axis]).powi(2)).sum::<f64>().sqrt()
}

/// Seen from a little above and from the side.
fn turned(p: [f64; 3]) -> [f64; 3] {
    let (yaw, pitch) = (0.45_f64, 0.32_f64);
    let (x, z) = (p[0] * yaw.cos() + p[2] * yaw.sin(), p[2] * yaw.cos() - p[0] * yaw.sin());
    let (y, z) = (p[1] * pitch.cos() - z * pitch.sin(), p[1] * pitch.sin() + z * pitch.cos());
    [x, y, z]
}

/// The radius at which an atom is drawn: a part of the covalent one among bonds, else by how many atoms there
/// are.
fn radius_of(scene: &Scene, has_bonds: bool, has_lengths: bool) -> impl Fn(usize) -> f64 {
    let bounds = scene.bounds().unwrap_or_default();
    let volume: f64 = (0..3).map(|axis| f64::from(bounds.1[axis] - bounds.0[axis]).max(1e-6)).product();
    #[allow(clippy::cast_precision_loss, reason = "a drawing")]
    let mean = (volume / scene.positions.len().max(1) as f64).cbrt();
    let elements = scene.elements.clone();
    move |n| {
        let covalent = elements::radius(elements.get(n).copied().unwrap_or(0));
        match (has_bonds, has_lengths) {
            (true, _) => 0.45 * covalent,
            (false, true) => covalent.min(0.4 * mean.max(1.0)),
            (false, false) => 0.33 * mean,
        }
    }
}

/// The drawing. Empty if no atom has finite coordinates.
pub(crate) fn svg(scene: &Scene, has_lengths: bool) -> String {
    let bonds = if has_lengths { bonds(scene) } else { Vec::new() };
    let radius = radius_of(scene, !bonds.is_empty(), has_lengths);
    let at: Vec<[f64; 3]> = scene.positions.iter().map(|p| turned(p.map(f64::from))).collect();
    let corners = scene.cell.map(|cell| corners(cell, scene.origin));
    let atoms = at.iter().filter(|p| p.iter().all(|x| x.is_finite()));
    let all = || atoms.clone().chain(corners.iter().flatten());
    let edge = |axis: usize, worst: f64, of: fn(f64, f64) -> f64| all().map(|p| p[axis]).fold(worst, of);
    let low = [edge(0, f64::INFINITY, f64::min), edge(1, f64::INFINITY, f64::min)];
    let high = [edge(0, f64::NEG_INFINITY, f64::max), edge(1, f64::NEG_INFINITY, f64::max)];
    let span = (high[0] - low[0]).max(high[1] - low[1]);
    if !span.is_finite() || atoms.clone().next().is_none() {
        return String::new();
    }
    let border = 2.0;
    let scale = SIZE / (span + 2.0 * border);
    let middle = [f64::midpoint(low[0], high[0]), f64::midpoint(low[1], high[1])];
    let flat =
        |p: &[f64; 3]| [SIZE / 2.0 + scale * (p[0] - middle[0]), SIZE / 2.0 - scale * (p[1] - middle[1])];
    let mut pieces = Vec::new();
    let mut nearest: Vec<usize> = (0..at.len()).filter(|&n| at[n].iter().all(|x| x.is_finite())).collect();
    nearest.sort_by(|&a, &b| at[b][2].total_cmp(&at[a][2]));
    nearest.truncate(MOST);
    let mut is_drawn = vec![false; at.len()];
    for &n in &nearest {
        is_drawn[n] = true;
        let ([x, y], r) = (flat(&at[n]), (scale * radius(n)).max(0.7));
        let svg = format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{r:.1}\" fill=\"url(#g{})\"/>",
            scene.elements[n]
        );
        pieces.push(Piece { depth: at[n][2], svg });
    }
    for [a, b] in bonds.into_iter().map(|bond| bond.map(|atom| atom as usize)) {
        if !(is_drawn[a] && is_drawn[b]) {
            continue;
        }
        let half: [f64; 3] = std::array::from_fn(|axis| f64::midpoint(at[a][axis], at[b][axis]));
        for end in [a, b] {
            // A half stands at the depth of its own middle, so it is behind the nearer atom.
            let depth = f64::midpoint(half[2], at[end][2]);
            let [r, g, b] = elements::colour(scene.elements[end]).map(|x| x / 6 * 5);
            let stroke = format!("stroke=\"rgb({r},{g},{b})\" stroke-linecap=\"round\"");
            pieces.push(Piece { depth, svg: line(flat(&at[end]), flat(&half), &stroke, scale * 0.16) });
        }
    }
    if let Some(corners) = corners {
        cell_lines(&corners, &flat, &mut pieces);
    }
    pieces.sort_by(|a, b| a.depth.total_cmp(&b.depth));
    assemble(scene, &pieces)
}

fn line(from: [f64; 2], to: [f64; 2], style: &str, width: f64) -> String {
    format!(
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" {style} stroke-width=\"{:.1}\"/>",
        from[0],
        from[1],
        to[0],
        to[1],
        width.max(0.8)
    )
}

/// The corners of a cell. Bit `n` of a number says whether vector `n` is added.
fn corners(cell: [[f64; 3]; 3], origin: [f64; 3]) -> [[f64; 3]; 8] {
    std::array::from_fn(|n| {
        turned(std::array::from_fn(|axis| {
            origin[axis] + (0..3).filter(|v| n >> v & 1 == 1).map(|v| cell[v][axis]).sum::<f64>()
        }))
    })
}

/// Edges in short pieces, so that each is behind or before the atoms around it.
fn cell_lines(corners: &[[f64; 3]; 8], flat: &impl Fn(&[f64; 3]) -> [f64; 2], pieces: &mut Vec<Piece>) {
    const PARTS: u8 = 16;
    for (from, vector) in (0..8_usize).flat_map(|from| (0..3).map(move |vector| (from, vector))) {
        let to = from | 1 << vector;
        if to == from {
            continue;
        }
        let part = |n: u8| -> [f64; 3] {
            let share = f64::from(n) / f64::from(PARTS);
            std::array::from_fn(|axis| {
                corners[from][axis] + share * (corners[to][axis] - corners[from][axis])
            })
        };
        for n in 0..PARTS {
            let (a, b) = (part(n), part(n + 1));
            pieces.push(Piece {
                depth: f64::midpoint(a[2], b[2]),
                svg: line(flat(&a), flat(&b), "class=\"cell\"", 1.0),
            });
        }
    }
}

fn assemble(scene: &Scene, pieces: &[Piece]) -> String {
    let kinds: BTreeSet<u8> = scene.elements.iter().copied().collect();
    let label = format!("{} atoms of {}", scene.n_atoms, scene.name);
    let mut out = format!(
        "<svg class=\"atoms\" viewBox=\"0 0 {SIZE} {SIZE}\" role=\"img\" aria-label=\"{}\"><defs>",
        html(&label)
    );
    for &z in &kinds {
        let [r, g, b] = elements::colour(z);
        let light = elements::colour(z).map(|x| x + (255 - x) / 2);
        let dark = elements::colour(z).map(|x| x / 5 * 3);
        let _ = write!(
            out,
            "<radialGradient id=\"g{z}\" cx=\"35%\" cy=\"32%\" r=\"70%\"><stop offset=\"0\" stop-color=\"rgb({},{},{})\"/>\
             <stop offset=\"0.55\" stop-color=\"rgb({r},{g},{b})\"/><stop offset=\"1\" stop-color=\"rgb({},{},{})\"/>\
             </radialGradient>",
            light[0], light[1], light[2], dark[0], dark[1], dark[2]
        );
    }
    out.push_str("</defs>");
    out.extend(pieces.iter().map(|piece| piece.svg.as_str()));
    out.push_str("</svg>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn water() -> Scene {
        Scene {
            n_atoms: 3,
            every: 1,
            positions: vec![[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]],
            elements: vec![8, 1, 1],
            ..Scene::default()
        }
    }

    #[test]
    fn bonds_are_those_of_covalent_radii() {
        let mut found = bonds(&water());
        found.sort_unstable();
        assert_eq!(found, [[0, 1], [0, 2]]);
        let far = Scene { positions: vec![[0.0; 3], [3.0, 0.0, 0.0], [0.0, 3.0, 0.0]], ..water() };
        assert!(bonds(&far).is_empty());
        let same = Scene { positions: vec![[1.0; 3]; 3], ..water() };
        assert!(bonds(&same).is_empty());
    }

    #[test]
    fn the_nearest_atom_is_drawn_last() {
        let mut scene = water();
        scene.positions = vec![[0.0, 0.0, -9.0], [0.0, 0.0, 9.0], [0.0, 0.0, 0.0]];
        scene.elements = vec![6, 7, 8];
        let svg = svg(&scene, true);
        let at = |z: u8| svg.find(&format!("fill=\"url(#g{z})\"/>")).unwrap();
        assert!(at(6) < at(8) && at(8) < at(7));
    }

    #[test]
    fn strange_coordinates_draw_what_there_is() {
        let mut scene = water();
        scene.positions[1] = [f32::NAN, f32::INFINITY, 0.0];
        scene.cell = Some([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 5.0]]);
        let drawn = svg(&scene, true);
        assert!(drawn.matches("<circle").count() == 2 && !drawn.contains("NaN") && !drawn.contains("inf"));
        assert_eq!(drawn.matches("class=\"cell\"").count(), 12 * 16);
        scene.positions = vec![[f32::NAN; 3]; 3];
        assert_eq!(svg(&Scene { cell: None, ..scene }, true), "");
        let huge = Scene { positions: vec![[f32::MAX; 3], [f32::MIN; 3], [0.0; 3]], ..water() };
        let drawn = svg(&huge, true);
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{drawn}");
    }
}
