// What the npm scripts run first: this program and its tools need a recent Node, and an older one ends at an option that it does
// not know, before any file of ours is read. Plain old syntax, since every Node has to get through it. `bin.ts` checks the same
// for the installed command.
const [major, minor] = process.versions.node.split('.').map(Number);
if (major < 20 || (major === 20 && minor < 11)) {
  console.error(
    `dawngrad: needs Node 20.11 or later, and this is ${process.versions.node}. Get one from https://nodejs.org.`,
  );
  process.exitCode = 2;
}
