// NaN by its bits: v is one, or has some, where `magnitude(v) > INFINITE`. A shader compiler may take v != v for an ordered comparison,
// or fold it away. An including shader defines Vec, f32 or vec4f, and Bits, the same in u32.
const INFINITE: Bits = Bits(0x7f800000u);

// The bits but for the sign, which order as the numbers do.
fn magnitude(v: Vec) -> Bits { return bitcast<Bits>(v) & Bits(0x7fffffffu); }
