import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);

/** The version of this package. */
export const dawngradVersion: string = require('../../package.json').version;

/** The versions that decide what a run computes, as run.json keeps them. */
export const versions = (): { dawngrad: string; node: string; webgpu: string } => ({
  dawngrad: dawngradVersion,
  node: process.versions.node,
  webgpu: require('webgpu/package.json').version,
});
