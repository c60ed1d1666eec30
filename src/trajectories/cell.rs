//! Cells by lengths and angles.

/// The lattice vectors of a cell, as rows: the first along x, the second in the plane of x and y. Angles are
/// in degrees. `None` if there is no such cell.
#[expect(clippy::float_cmp, reason = "exactly right angles are exact")]
pub(super) fn from_lengths_and_angles(lengths: [f64; 3], angles: [f64; 3]) -> Option<[[f64; 3]; 3]> {
    let [first, second, third] = lengths;
    // Exact for right angles.
    let cosine = |angle: f64| if angle == 90.0 { 0.0 } else { angle.to_radians().cos() };
    let [alpha, beta, gamma] = angles.map(cosine);
    let sine = (1.0 - gamma * gamma).sqrt();
    let y = (alpha - beta * gamma) / sine;
    let z = (1.0 - beta * beta - y * y).sqrt();
    let cell =
        [[first, 0.0, 0.0], [second * gamma, second * sine, 0.0], [third * beta, third * y, third * z]];
    let is_cell = cell.as_flattened().iter().all(|number| number.is_finite())
        && (0..3).all(|axis| cell[axis][axis] > 0.0)
        && angles.iter().all(|angle| *angle > 0.0 && *angle < 180.0);
    is_cell.then_some(cell)
}
