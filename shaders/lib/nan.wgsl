// By its bits, since a shader compiler may take `v != v` for an ordered comparison (Dawn's does for SPIR-V), or fold it away.
fn is_nan(v: f32) -> bool { return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u; }
