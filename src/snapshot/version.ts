/** What a manifest says of who wrote it. A test ties it to `package.json`. */
export const VERSION = '0.1.0';
export const TOOL = `stillpoint/${VERSION}`;
