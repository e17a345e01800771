/**
 * What the engine's process is started with beside the environment of its parent. glibc takes freed blocks of up to 32 MB as a
 * hint to keep such blocks: a prompt's keys and values would leave holes of hundreds of megabytes. With a fixed limit large
 * blocks go back to the system at once.
 */
export const engineEnvironment: Readonly<Record<string, string>> =
  process.platform === 'linux' ? { MALLOC_MMAP_THRESHOLD_: `${1 << 20}` } : {}
