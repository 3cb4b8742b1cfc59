// Winners of a max pool as they are.
fn pack(at: Index) -> Winners { return at; }
fn unpack(winners: Winners) -> Index { return winners; }
