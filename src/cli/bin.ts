#!/usr/bin/env node
// No static import and no recent syntax here: an old Node has to get as far as the line that tells it is too old.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 11)) {
  console.error(
    `dawngrad: needs Node 20.11 or later, and this is ${process.versions.node}. Get one from https://nodejs.org.`,
  );
  process.exitCode = 2;
} else {
  Promise.all([import('./main.ts'), import('./commands.ts')]).then(([{ main }, { commands }]) =>
    main(process.argv.slice(2), commands),
  );
}
