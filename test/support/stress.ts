/**
 * How often a loop runs: a short slice in `npm test`, the full figure of the reliability targets in `npm run test:stress`.
 */
export const times = (slice: number, full: number): number => (process.env.GROMATIC_STRESS === '1' ? full : slice)
