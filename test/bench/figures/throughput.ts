import type { Figure } from '../figure.ts'
export const throughput: Figure = { work: '', rows: [], measure: async () => [] }
