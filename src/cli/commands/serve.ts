import type { Define } from '../program.ts';
export const define: Define = () => undefined;
