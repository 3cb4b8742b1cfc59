import { createHash } from 'node:crypto';

/** Bytes that one call reads, writes or hashes, at most: Node refuses 2 GiB or more, and no system reads or writes so much at once. */
export const CHUNK_BYTES = 2 ** 30;

/** SHA-256, in hex, over parts of any size in turn; of text, the UTF-8. What a chunk is makes no difference to it. */
export function sha256(parts: readonly (string | Uint8Array)[], chunkBytes = CHUNK_BYTES): string {
  const hash = createHash('sha256');
  for (const part of parts) {
    if (typeof part === 'string') hash.update(part);
    else for (let at = 0; at < part.byteLength; at += chunkBytes) hash.update(part.subarray(at, at + chunkBytes));
  }
  return hash.digest('hex');
}
