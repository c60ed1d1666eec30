//! Molecular dynamics of a Lennard-Jones fluid: velocity Verlet in a cubic periodic box.
//!
//! Units are those of GROMACS (nm, ps, u, kJ/mol). In them `1 u nm^2/ps^2` is 1 kJ/mol, so no conversion
//! factors appear.
//!
//! The potential is Lennard-Jones with the force shifted to zero at the cutoff. Neither force nor energy
//! jumps when a pair crosses it, and the total energy is conserved (Toxvaerd and Dyre, J. Chem. Phys.
//! 134, 081102).
//!
//! Pairs come from a Verlet list of all pairs within the cutoff and a skin. The list is built with a
//! cell list, and rebuilt once an atom has moved by half the skin.

/// Argon in nm, kJ/mol (119.8 K) and u, after Rahman, Phys. Rev. 136, A405 (1964).
pub(crate) const SIGMA: f64 = 0.3405;
pub(crate) const EPSILON: f64 = 0.9961;
pub(crate) const MASS: f64 = 39.948;
/// Boltzmann's constant in kJ/mol/K (CODATA 2018).
pub(crate) const BOLTZMANN: f64 = 0.008_314_462_618;

const CUTOFF: f64 = 2.5 * SIGMA;
const SKIN: f64 = 0.35 * SIGMA;
const REACH: f64 = CUTOFF + SKIN;
/// Atoms in a volume of `SIGMA^3`. This density gives a liquid.
const REDUCED_DENSITY: f64 = 0.8;
/// The fewest unit cells, of four atoms each, along an edge. With fewer, the box is narrower than two
/// cutoffs.
const LEAST_CELLS: usize = 4;

pub(crate) type Vectors = Vec<[f64; 3]>;

/// The number of atoms nearest to `wanted` that fills a cubic fcc lattice, 4 n^3.
pub(crate) fn lattice_atoms(wanted: usize) -> usize {
    let atoms = |cells: usize| 4 * cells.pow(3);
    let mut cells = LEAST_CELLS;
    while atoms(cells + 1).abs_diff(wanted) < atoms(cells).abs_diff(wanted) {
        cells += 1;
    }
    atoms(cells)
}

/// A fluid in motion.
pub(crate) struct Simulation {
    /// Edge of the box, in nm.
    pub(crate) edge: f64,
    /// For each atom, the image nearest to where it was when pairs were last searched. See
    /// [`Self::wrapped`].
    positions: Vectors,
    pub(crate) velocities: Vectors,
    pub(crate) forces: Vectors,
    /// The potential energy, in kJ/mol.
    pub(crate) potential: f64,
    /// Steps made so far.
    pub(crate) step: u64,
    /// Length of a step, in ps.
    pub(crate) time_step: f64,
    pairs: PairList,
}

impl Simulation {
    /// Atoms on an fcc lattice, with velocities of `temperature` kelvin drawn from `seed` and no net
    /// momentum.
    ///
    /// On the way from the lattice to the liquid about half the kinetic energy becomes potential energy.
    pub(crate) fn new(n_atoms: usize, temperature: f64, time_step: f64, seed: u64) -> Self {
        let n_atoms = lattice_atoms(n_atoms);
        let edge = (n_atoms as f64 / REDUCED_DENSITY).cbrt() * SIGMA;
        let positions = fcc(n_atoms, edge);
        let velocities = thermal(n_atoms, temperature, seed);
        let pairs = PairList::new(&positions, edge);
        let mut forces = vec![[0.0; 3]; n_atoms];
        let potential = pairs.forces(&positions, edge, &mut forces);
        Self { edge, positions, velocities, forces, potential, step: 0, time_step, pairs }
    }

    /// Makes `steps` steps.
    pub(crate) fn advance(&mut self, steps: u64) {
        let half_kick = 0.5 * self.time_step / MASS;
        for _ in 0..steps {
            let moving = self.positions.iter_mut().zip(&mut self.velocities).zip(&self.forces);
            for ((x, v), f) in moving {
                for axis in 0..3 {
                    v[axis] += half_kick * f[axis];
                    x[axis] += self.time_step * v[axis];
                }
            }
            if self.pairs.is_stale(&self.positions) {
                self.positions = self.wrapped();
                self.pairs = PairList::new(&self.positions, self.edge);
            }
            self.potential = self.pairs.forces(&self.positions, self.edge, &mut self.forces);
            for (v, f) in self.velocities.iter_mut().zip(&self.forces) {
                for axis in 0..3 {
                    v[axis] += half_kick * f[axis];
                }
            }
            self.step += 1;
        }
    }

    /// Positions inside the box.
    pub(crate) fn wrapped(&self) -> Vectors {
        self.positions.iter().map(|x| x.map(|x| x.rem_euclid(self.edge))).collect()
    }

    /// Simulated time in ps.
    pub(crate) fn time(&self) -> f64 {
        self.step as f64 * self.time_step
    }

    /// The kinetic energy, in kJ/mol.
    pub(crate) fn kinetic(&self) -> f64 {
        kinetic_energy(&self.velocities)
    }
}

/// `½ m v^2` of all atoms, in kJ/mol.
pub(crate) fn kinetic_energy(velocities: &[[f64; 3]]) -> f64 {
    0.5 * MASS * velocities.iter().flatten().map(|v| v * v).sum::<f64>()
}

/// The temperature of `n_atoms` atoms with this kinetic energy and no net momentum, in kelvin.
pub(crate) fn temperature(kinetic: f64, n_atoms: usize) -> f64 {
    2.0 * kinetic / (3.0 * (n_atoms as f64 - 1.0) * BOLTZMANN)
}

/// The potential energy of any configuration, in kJ/mol, by the routine that drives the simulation.
pub(crate) fn potential_energy(positions: &[[f64; 3]], edge: f64) -> f64 {
    let inside: Vectors = positions.iter().map(|x| x.map(|x| x.rem_euclid(edge))).collect();
    let mut forces = vec![[0.0; 3]; positions.len()];
    PairList::new(&inside, edge).forces(&inside, edge, &mut forces)
}

/// All pairs that may come within the cutoff until an atom has moved by half the skin.
struct PairList {
    /// The partners of atom `i` are `partners[starts[i]..starts[i + 1]]`; each pair is listed once.
    starts: Vec<usize>,
    partners: Vec<u32>,
    /// Where the atoms were when the list was made.
    origins: Vectors,
}

impl PairList {
    fn new(positions: &[[f64; 3]], edge: f64) -> Self {
        let cells = Cells::new(positions, edge);
        let mut starts = vec![0];
        let mut partners = Vec::new();
        for (i, x) in positions.iter().enumerate() {
            cells.around(x, |j| {
                if j as usize > i && square(separation(x, &positions[j as usize], edge)) < REACH * REACH {
                    partners.push(j);
                }
            });
            starts.push(partners.len());
        }
        Self { starts, partners, origins: positions.to_vec() }
    }

    fn is_stale(&self, positions: &[[f64; 3]]) -> bool {
        let moved = |(x, origin): (&[f64; 3], &[f64; 3])| {
            square([x[0] - origin[0], x[1] - origin[1], x[2] - origin[2]]) > 0.25 * SKIN * SKIN
        };
        positions.iter().zip(&self.origins).any(moved)
    }

    /// Overwrites `forces`. Returns the potential energy.
    fn forces(&self, positions: &[[f64; 3]], edge: f64, forces: &mut [[f64; 3]]) -> f64 {
        let (cut_energy, cut_force) = lennard_jones(CUTOFF * CUTOFF);
        let cut_force = cut_force * CUTOFF;
        forces.fill([0.0; 3]);
        let mut energy = 0.0;
        for (i, x) in positions.iter().enumerate() {
            let mut on_i = [0.0; 3];
            for &j in &self.partners[self.starts[i]..self.starts[i + 1]] {
                let apart = separation(x, &positions[j as usize], edge);
                let r2 = square(apart);
                if r2 < CUTOFF * CUTOFF {
                    let r = r2.sqrt();
                    let (pair_energy, pair_force) = lennard_jones(r2);
                    energy += pair_energy - cut_energy + (r - CUTOFF) * cut_force;
                    let scale = pair_force - cut_force / r;
                    let on_j = &mut forces[j as usize];
                    for axis in 0..3 {
                        on_i[axis] += scale * apart[axis];
                        on_j[axis] -= scale * apart[axis];
                    }
                }
            }
            for axis in 0..3 {
                forces[i][axis] += on_i[axis];
            }
        }
        energy
    }
}

/// Energy of a pair at a squared distance, and its force divided by the distance.
fn lennard_jones(r2: f64) -> (f64, f64) {
    let s2 = SIGMA * SIGMA / r2;
    let s6 = s2 * s2 * s2;
    (4.0 * EPSILON * s6 * (s6 - 1.0), 24.0 * EPSILON * s6 * (2.0 * s6 - 1.0) / r2)
}

/// The vector from `b` to the nearest image of `a`. Both must lie in the box, or less than half an edge
/// outside.
fn separation(a: &[f64; 3], b: &[f64; 3], edge: f64) -> [f64; 3] {
    let half = 0.5 * edge;
    let mut apart = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    for x in &mut apart {
        let shift = if *x > half { edge } else { 0.0 } - if *x < -half { edge } else { 0.0 };
        *x -= shift;
    }
    apart
}

fn square(x: [f64; 3]) -> f64 {
    x[0] * x[0] + x[1] * x[1] + x[2] * x[2]
}

/// Atoms sorted into cubic cells no narrower than [`REACH`].
struct Cells {
    edge: f64,
    per_edge: usize,
    /// The atoms of a cell are `atoms[starts[cell]..starts[cell + 1]]`.
    starts: Vec<usize>,
    atoms: Vec<u32>,
}

impl Cells {
    fn new(positions: &[[f64; 3]], edge: f64) -> Self {
        // With fewer than three cells the neighbours on both sides would be the same cell.
        let per_edge = match (edge / REACH) as usize {
            0..3 => 1,
            fits => fits,
        };
        let mut cells = Self { edge, per_edge, starts: vec![0; per_edge.pow(3) + 1], atoms: Vec::new() };
        let cell_of: Vec<usize> = positions.iter().map(|x| cells.number(cells.coordinates(x))).collect();
        for &cell in &cell_of {
            cells.starts[cell + 1] += 1;
        }
        for cell in 1..cells.starts.len() {
            cells.starts[cell] += cells.starts[cell - 1];
        }
        cells.atoms = (0..positions.len() as u32).collect();
        cells.atoms.sort_by_key(|&atom| cell_of[atom as usize]);
        cells
    }

    fn coordinates(&self, x: &[f64; 3]) -> [usize; 3] {
        // Rounding may put an atom onto the far face.
        x.map(|x| ((x / self.edge * self.per_edge as f64) as usize).min(self.per_edge - 1))
    }

    fn number(&self, [x, y, z]: [usize; 3]) -> usize {
        (z * self.per_edge + y) * self.per_edge + x
    }

    /// Visits all atoms in the cell of `x` and in the 26 cells around it.
    fn around(&self, x: &[f64; 3], mut visit: impl FnMut(u32)) {
        let n = self.per_edge;
        let steps: &[usize] = if n == 1 { &[0] } else { &[n - 1, 0, 1] };
        let centre = self.coordinates(x);
        for dz in steps {
            for dy in steps {
                for dx in steps {
                    let cell =
                        self.number([(centre[0] + dx) % n, (centre[1] + dy) % n, (centre[2] + dz) % n]);
                    self.atoms[self.starts[cell]..self.starts[cell + 1]].iter().for_each(|&atom| visit(atom));
                }
            }
        }
    }
}

fn fcc(n_atoms: usize, edge: f64) -> Vectors {
    const BASIS: [[f64; 3]; 4] =
        [[0.25, 0.25, 0.25], [0.75, 0.75, 0.25], [0.75, 0.25, 0.75], [0.25, 0.75, 0.75]];
    let cells = (n_atoms as f64 / 4.0).cbrt().round() as usize;
    let spacing = edge / cells as f64;
    let mut positions = Vec::with_capacity(n_atoms);
    for x in 0..cells {
        for y in 0..cells {
            for z in 0..cells {
                let corner = [x, y, z].map(|n| n as f64);
                positions.extend(BASIS.map(|b| [0, 1, 2].map(|axis| (corner[axis] + b[axis]) * spacing)));
            }
        }
    }
    positions
}

/// Velocities from the Maxwell–Boltzmann distribution, without net momentum.
fn thermal(n_atoms: usize, temperature: f64, seed: u64) -> Vectors {
    let mut random = Random(seed);
    let spread = (BOLTZMANN * temperature / MASS).sqrt();
    let mut velocities: Vectors =
        (0..n_atoms).map(|_| [0; 3].map(|_: i32| spread * random.normal())).collect();
    for axis in 0..3 {
        let drift = velocities.iter().map(|v| v[axis]).sum::<f64>() / n_atoms as f64;
        for v in &mut velocities {
            v[axis] -= drift;
        }
    }
    velocities
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014). It is short, and gives the same numbers everywhere.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }

    /// A number in `(0, 1]`.
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// A normal random number with mean 0 and variance 1 (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }
}
