// Four winners of a max pool in one word: for windows of at most 256 elements.
fn pack(at: Index) -> Winners { return at.x | (at.y << 8u) | (at.z << 16u) | (at.w << 24u); }
fn unpack(winners: Winners) -> Index { return (vec4u(winners) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(255u); }
