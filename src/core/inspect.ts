/** The name of the method that Node's `console.log` asks what an object looks like; elsewhere nobody does. */
export const INSPECT: unique symbol = Symbol.for('nodejs.util.inspect.custom') as never;
