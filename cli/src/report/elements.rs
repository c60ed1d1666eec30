//! What is drawn of chemical elements: symbol, radius and colour, and how they are told.

/// Symbols, from atomic number 1 on.
const SYMBOLS: &str = "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se \
Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W \
Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm";

/// Covalent radii in pm, from atomic number 1 on. Of carbon it is that of sp3, and of Mn, Fe and Co that of
/// low spin.
///
/// # Source
/// Cordero and others, "Covalent radii revisited", Dalton Transactions 2008, 2832-2838, table 2.
const RADII: [u16; 96] = [
    31, 28, 128, 96, 84, 76, 71, 66, 57, 58, 166, 141, 121, 111, 107, 105, 102, 106, 203, 176, 170, 160, 153,
    139, 139, 132, 126, 124, 132, 122, 122, 120, 119, 120, 120, 116, 220, 195, 190, 175, 164, 154, 147, 146,
    142, 139, 145, 144, 142, 139, 139, 138, 139, 140, 244, 215, 207, 204, 203, 201, 199, 198, 198, 196, 194,
    192, 192, 189, 190, 187, 187, 175, 170, 162, 151, 144, 141, 136, 136, 132, 145, 146, 148, 140, 150, 150,
    260, 221, 215, 206, 200, 196, 190, 187, 180, 169,
];

/// Atomic weights in u, from atomic number 1 to 83; those of elements without a stable isotope are of the
/// longest-lived one.
///
/// # Source
/// IUPAC, "Standard atomic weights of the elements 2021", abridged.
const WEIGHTS: [f32; 83] = [
    1.008, 4.0026, 6.94, 9.0122, 10.81, 12.011, 14.007, 15.999, 18.998, 20.180, 22.990, 24.305, 26.982,
    28.085, 30.974, 32.06, 35.45, 39.95, 39.098, 40.078, 44.956, 47.867, 50.942, 51.996, 54.938, 55.845,
    58.933, 58.693, 63.546, 65.38, 69.723, 72.630, 74.922, 78.971, 79.904, 83.798, 85.468, 87.62, 88.906,
    91.222, 92.906, 95.95, 97.0, 101.07, 102.91, 106.42, 107.87, 112.41, 114.82, 118.71, 121.76, 127.60,
    126.90, 131.29, 132.91, 137.33, 138.91, 140.12, 140.91, 144.24, 145.0, 150.36, 151.96, 157.25, 158.93,
    162.50, 164.93, 167.26, 168.93, 173.05, 174.97, 178.49, 180.95, 183.84, 186.21, 190.23, 192.22, 195.08,
    196.97, 200.59, 204.38, 207.2, 208.98,
];

/// How many elements can be drawn.
pub(crate) const COUNT: u8 = 96;

/// Numbers from here on are type ids, from 0 on.
pub(crate) const TYPES: u8 = 128;

/// How many type ids are told apart.
pub(crate) const TYPE_COUNT: u8 = 64;

/// Whether it is an element, and no type or unknown.
pub(crate) fn is_known(number: u8) -> bool {
    (1..=COUNT).contains(&number)
}

/// What it is called for people.
pub(crate) fn name(number: u8) -> String {
    match number {
        0 => "unknown".into(),
        TYPES.. => format!("type {}", number - TYPES),
        number => symbol(number).into(),
    }
}

/// The symbol. `X` for 0 and for what is not known.
pub(crate) fn symbol(number: u8) -> &'static str {
    SYMBOLS.split_ascii_whitespace().nth(usize::from(number).wrapping_sub(1)).unwrap_or("X")
}

/// The covalent radius in angstrom.
pub(crate) fn radius(number: u8) -> f64 {
    RADII.get(usize::from(number).wrapping_sub(1)).map_or(0.8, |&pm| f64::from(pm) / 100.0)
}

/// The colour as red, green, blue.
///
/// The usual ones are near those of Corey, Pauling and Koltun; others go round the circle of hues.
pub(crate) fn colour(number: u8) -> [u8; 3] {
    match number {
        0 => [150, 150, 160],
        1 => [232, 232, 236],
        6 => [92, 98, 108],
        7 => [62, 96, 214],
        8 => [214, 58, 50],
        9 | 17 => [72, 176, 72],
        11 => [140, 98, 214],
        12 => [70, 150, 60],
        14 => [206, 170, 126],
        15 => [226, 128, 32],
        16 => [222, 186, 44],
        18 => [92, 178, 200],
        20 => [88, 150, 88],
        26 => [196, 104, 52],
        29 => [196, 124, 64],
        30 => [116, 122, 168],
        35 => [158, 58, 44],
        53 => [132, 40, 150],
        79 => [236, 196, 60],
        n => of_hue(f64::from(n) * 137.508),
    }
}

/// A calm colour of a hue in degrees.
fn of_hue(hue: f64) -> [u8; 3] {
    [0.0, 120.0, 240.0].map(|of| {
        let wave = 0.5 + 0.5 * ((hue - of).to_radians()).cos();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 80 to 210")]
        let value = (80.0 + 130.0 * wave) as u8;
        value
    })
}

/// The element with nearly this mass in u. 0 if there is none.
pub(crate) fn of_mass(mass: f32) -> u8 {
    // Deuterium and tritium, and hydrogens that are made heavy for longer steps.
    if (1.5..3.5).contains(&mass) {
        return 1;
    }
    let distance = |weight: f32| (weight - mass).abs();
    let nearest = (1..).zip(WEIGHTS).min_by(|(_, a), (_, b)| distance(*a).total_cmp(&distance(*b)));
    nearest
        .filter(|(_, weight)| distance(*weight) < 0.25_f32.max(0.002 * mass))
        .map_or(0, |(number, _)| number)
}

/// The element of an atom's name, as proteins and water have them: `CA` is a carbon, `HW1` a hydrogen.
pub(crate) fn of_name(name: &str) -> u8 {
    match name.chars().find(char::is_ascii_alphabetic).map(|c| c.to_ascii_uppercase()) {
        Some('H' | 'D') => 1,
        Some('C') => 6,
        Some('N') => 7,
        Some('O') => 8,
        Some('P') => 15,
        Some('S') => 16,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_begin_and_end_where_they_should() {
        assert_eq!(SYMBOLS.split_ascii_whitespace().count(), usize::from(COUNT));
        for (number, name, pm) in
            [(1, "H", 31), (8, "O", 66), (26, "Fe", 132), (53, "I", 139), (79, "Au", 136), (87, "Fr", 260)]
        {
            assert_eq!((symbol(number), RADII[usize::from(number) - 1]), (name, pm));
        }
        assert_eq!([symbol(0), symbol(200)], ["X", "X"]);
    }

    #[test]
    fn masses_tell_elements() {
        for (mass, number) in
            [(1.008, 1), (2.014, 1), (12.01, 6), (15.9994, 8), (39.948, 18), (55.85, 26), (196.967, 79)]
        {
            assert_eq!(of_mass(mass), number, "{mass}");
        }
        for mass in [0.0, -1.0, 50.0, f32::NAN, f32::INFINITY] {
            assert_eq!(of_mass(mass), 0, "{mass}");
        }
        assert_eq!(["CA", "1HB", "OW", "XX"].map(of_name), [6, 1, 8, 0]);
    }
}
