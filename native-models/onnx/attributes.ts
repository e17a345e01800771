import type { Attribute } from './proto.ts'

/** Makers of node attributes. */
export const int = (value: number): Attribute => ({ kind: 'int', value })
export const float = (value: number): Attribute => ({ kind: 'float', value })
export const text = (value: string): Attribute => ({ kind: 'string', value })
export const ints = (...value: number[]): Attribute => ({ kind: 'ints', value })
