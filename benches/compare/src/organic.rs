//! Molecules whose geometry and forces belong together: the workloads `d` and `dp`.
//!
//! A molecule is a random tree of 5 to 30 atoms of C, N and O, filled up with hydrogen. Bond lengths are
//! those of single bonds, angles are tetrahedral, dihedrals lie near their three staggered values, and atoms
//! do not overlap. A record is one of the conformations of one of [`GRAPHS`] molecules, each atom displaced
//! as by vibrations at room temperature, with the energy and the forces of springs between atoms that are one
//! or two bonds apart. Positions are relative to the centre. Each record draws its molecule anew, so that
//! neighbours in a store are not related.

use crate::data::Random;

/// How many molecules there are.
const GRAPHS: usize = 400;
/// Spring constants of bonds, and of atoms two bonds apart, in kJ/mol/nm^2.
const SPRINGS: [f64; 2] = [2.5e5, 4.0e4];
/// The displacement of an atom of 1 u along an axis, in nm. It falls with the root of the mass.
const DISPLACEMENT: f64 = 0.009;
/// Atoms more than two bonds apart are at least that far apart, in nm, where that can be had.
const CONTACT: f64 = 0.18;

/// In nm.
const ANGSTROM: f64 = 0.1;
/// In kJ/mol.
const EV: f64 = 96.485;

/// One record. It is in angstrom and eV, as most published sets of molecules are.
pub(crate) struct Geometry<'g> {
    pub(crate) numbers: &'g [u8],
    pub(crate) positions: Vec<[f32; 3]>,
    pub(crate) forces: Vec<[f32; 3]>,
    pub(crate) energy: f64,
}

/// A molecule: a tree, in which each atom but the first has an earlier one as its parent.
struct Graph {
    numbers: Vec<u8>,
    parents: Vec<usize>,
    /// Pairs of atoms that a spring holds, with its constant.
    springs: Vec<(usize, usize, f64)>,
    /// The energy of formation, so to speak: a sum over the atoms.
    energy: f64,
}

fn valence(number: u8) -> usize {
    match number {
        6 => 4,
        7 => 3,
        8 => 2,
        _ => 1,
    }
}

/// The length of a single bond, in nm.
fn bond(left: u8, right: u8) -> f64 {
    match (left.min(right), left.max(right)) {
        (1, 6) => 0.109,
        (1, 7) => 0.101,
        (1, 8) => 0.096,
        (6, 6) => 0.153,
        (6, 7) => 0.147,
        (6, 8) => 0.143,
        _ => 0.145,
    }
}

fn mass(number: u8) -> f64 {
    match number {
        1 => 1.008,
        6 => 12.011,
        7 => 14.007,
        _ => 15.999,
    }
}

impl Graph {
    fn new(random: &mut Random) -> Self {
        let sizes = [0; 3].map(|_| 5 + random.below(26));
        let heavy = sizes.into_iter().max().unwrap_or(5);
        let (mut numbers, mut parents, mut free) = (vec![6_u8], vec![0], vec![4_usize]);
        while numbers.len() < heavy {
            let parent = random.below(numbers.len());
            // Two free places are kept for what follows, so that the tree can always grow.
            let number = [6, 6, 6, 6, 6, 6, 6, 7, 7, 8, 8][random.below(11)];
            if free[parent] == 0 || free.iter().sum::<usize>() - 1 + valence(number) - 1 == 0 {
                continue;
            }
            free[parent] -= 1;
            numbers.push(number);
            parents.push(parent);
            free.push(valence(number) - 1);
        }
        for (parent, &n) in free.iter().enumerate() {
            for _ in 0..n {
                numbers.push(1);
                parents.push(parent);
            }
        }
        let mut springs = Vec::new();
        for atom in 1..numbers.len() {
            springs.push((parents[atom], atom, SPRINGS[0]));
            for other in 1..atom {
                if parents[other] == parents[atom] {
                    springs.push((other, atom, SPRINGS[1]));
                }
            }
            if parents[atom] != 0 {
                springs.push((parents[parents[atom]], atom, SPRINGS[1]));
            }
        }
        let of_atom = |&number: &u8| match number {
            1 => -1_310.0,
            6 => -99_300.0,
            7 => -143_200.0,
            _ => -197_000.0,
        };
        let energy = numbers.iter().map(of_atom).sum();
        Self { numbers, parents, springs, energy }
    }

    /// Atoms at rest, in nm.
    fn conformation(&self, random: &mut Random) -> Vec<[f64; 3]> {
        let mut places: Vec<[f64; 3]> = Vec::with_capacity(self.numbers.len());
        let mut directions: Vec<Vec<[f64; 3]>> = vec![Vec::new(); self.numbers.len()];
        places.push([0.0; 3]);
        directions[0] = tetrahedron(unit([0; 3].map(|_| random.normal())), None, random);
        for atom in 1..self.numbers.len() {
            let parent = self.parents[atom];
            let length = bond(self.numbers[parent], self.numbers[atom]);
            let way = directions[parent].remove(0);
            let place = add(places[parent], way, length);
            places.push(place);
            let back = way.map(|x| -x);
            // Heavy atoms choose a rotation in which what they will carry meets nothing that is there.
            let clearance = |ways: &[[f64; 3]]| {
                let tips = ways.iter().map(|&way| add(place, way, 0.13));
                tips.flat_map(|tip| places[..atom].iter().map(move |&at| distance(tip, at)))
                    .fold(f64::INFINITY, f64::min)
            };
            let reference = directions[parent].first().copied();
            let mut best = tetrahedron(back, reference, random);
            if self.numbers[atom] > 1 {
                for _ in 0..12 {
                    if clearance(&best) >= CONTACT {
                        break;
                    }
                    let other = tetrahedron(back, reference, random);
                    if clearance(&other) > clearance(&best) {
                        best = other;
                    }
                }
            }
            best.remove(0);
            // Which of the three is taken first is a choice of the dihedral among the staggered ones.
            let first = random.below(3);
            best.rotate_left(first);
            directions[atom] = best;
        }
        places
    }

    fn geometry(&self, random: &mut Random) -> Geometry<'_> {
        let rest = self.conformation(random);
        let mut places: Vec<[f64; 3]> = rest
            .iter()
            .zip(&self.numbers)
            .map(|(at, &number)| at.map(|x| x + DISPLACEMENT / mass(number).sqrt() * random.normal()))
            .collect();
        let (mut forces, mut energy) = (vec![[0.0; 3]; places.len()], self.energy);
        for &(left, right, spring) in &self.springs {
            let (now, then) = (distance(places[left], places[right]), distance(rest[left], rest[right]));
            energy += 0.5 * spring * (now - then).powi(2);
            for axis in 0..3 {
                let pull = spring * (now - then) / now * (places[right][axis] - places[left][axis]);
                forces[left][axis] += pull;
                forces[right][axis] -= pull;
            }
        }
        let n = places.len() as f64;
        let centre = places.iter().fold([0.0; 3], |sum, &at| add(sum, at, 1.0 / n));
        for at in &mut places {
            *at = add(*at, centre, -1.0);
        }
        let single =
            |vectors: &[[f64; 3]], unit: f64| vectors.iter().map(|v| v.map(|x| (x / unit) as f32)).collect();
        Geometry {
            numbers: &self.numbers,
            positions: single(&places, ANGSTROM),
            forces: single(&forces, EV / ANGSTROM),
            energy: energy / EV,
        }
    }
}

/// Four directions to the corners of a tetrahedron, `first` among them. The others are staggered to
/// `reference`, a bond of the atom behind `first`, give or take ten degrees.
fn tetrahedron(first: [f64; 3], reference: Option<[f64; 3]>, random: &mut Random) -> Vec<[f64; 3]> {
    let reference = reference.unwrap_or_else(|| [0; 3].map(|_| random.normal()));
    let along = dot(reference, first);
    let mut across = add(reference, first, -along);
    if dot(across, across) < 1e-6 {
        across = cross(first, [first[1], first[2], first[0] + 1.0]);
    }
    let across = unit(across);
    let third = cross(first, across);
    let (cosine, sine) = (-1.0 / 3.0, 8.0_f64.sqrt() / 3.0);
    let turned = std::f64::consts::PI + 0.17 * random.normal();
    let others = (0..3).map(|nth| {
        let angle = turned + f64::from(nth) * std::f64::consts::TAU / 3.0;
        let side = add(across.map(|x| x * angle.cos()), third, angle.sin());
        add(first.map(|x| x * cosine), side, sine)
    });
    std::iter::once(first).chain(others).collect()
}

fn dot(left: [f64; 3], right: [f64; 3]) -> f64 {
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn add(left: [f64; 3], right: [f64; 3], times: f64) -> [f64; 3] {
    [0, 1, 2].map(|axis| left[axis] + times * right[axis])
}

fn unit(vector: [f64; 3]) -> [f64; 3] {
    let length = dot(vector, vector).sqrt();
    vector.map(|x| x / length)
}

fn distance(left: [f64; 3], right: [f64; 3]) -> f64 {
    let way = add(left, right, -1.0);
    dot(way, way).sqrt()
}

/// Calls `each` with `records` of them.
///
/// # Errors
/// Those of `each`.
pub(crate) fn geometries<E>(
    records: usize,
    mut each: impl FnMut(&Geometry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut random = Random(11);
    let graphs: Vec<Graph> = (0..GRAPHS).map(|_| Graph::new(&mut random)).collect();
    (0..records).try_for_each(|_| {
        let graph = &graphs[random.below(GRAPHS)];
        each(&graph.geometry(&mut random))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn molecules_have_the_bonds_and_forces_of_molecules() {
        let (mut squares, mut components, mut atoms, mut n) = (0.0, 0, 0, 0);
        geometries(2000, |one| {
            let total = one.forces.iter().fold([0.0; 3], |sum, f| add(sum, f.map(f64::from), 1.0));
            assert!(total.iter().all(|x| x.abs() < 0.1), "springs pull on both ends: {total:?}");
            let centre = one.positions.iter().fold([0.0; 3], |sum, at| add(sum, at.map(f64::from), 1.0));
            assert!(centre.iter().all(|x| x.abs() < 1e-3));
            for (nth, at) in one.positions.iter().enumerate() {
                let others = one.positions.iter().enumerate().filter(|(other, _)| *other != nth);
                let nearest = others
                    .map(|(_, other)| distance(at.map(f64::from), other.map(f64::from)))
                    .fold(f64::INFINITY, f64::min);
                assert!(nearest < 2.0, "an atom is bound: {nearest}");
            }
            squares += one.forces.iter().flatten().map(|&f| f64::from(f).powi(2)).sum::<f64>();
            (components, atoms, n) = (components + 3 * one.forces.len(), atoms + one.numbers.len(), n + 1);
            Ok::<(), ()>(())
        })
        .unwrap();
        let force = (squares / f64::from(components as u32)).sqrt();
        assert!((0.3..3.0).contains(&force), "{force} eV/angstrom");
        let mean = f64::from(atoms as u32) / f64::from(n);
        assert!((55.0..70.0).contains(&mean), "{mean} atoms");
    }
}
