import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, realpathSync, statSync } from 'node:fs'
import { arch, cpus, platform, release } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { cudaLibrary, runtimeVersion } from './session.ts'

/** What prepared weights depend on: the processor with what it can do, and the runtime. */
export function cpuKey(): string {
  return digest([arch(), cpus()[0]?.model ?? '', cpuFlags(), runtimeVersion])
}

/** What a trial of providers depends on: all of that, and the graphics card with its driver. */
export function machineKey(): string {
  return digest([cpuKey(), release(), ...graphicsState()])
}

/**
 * Whether there may be a graphics card. On Linux the kernel tells; without one a Vulkan driver in software (lavapipe,
 * SwiftShader) is all that WebGPU could find.
 */
export function mayHaveGraphicsCard(): boolean {
  if (platform() !== 'linux') return true
  const underWindows = existsSync('/dev/dxg')
  return underWindows || textOf('/proc/driver/nvidia/version') !== '' || namesIn('/sys/class/drm').some(isCard)
}

const isCard = (name: string): boolean => /^card\d+$/.test(name)

const digest = (parts: readonly string[]): string =>
  createHash('sha256').update(parts.join('\n')).digest('hex').slice(0, 16)

function cpuFlags(): string {
  return /^(?:flags|Features)\s*:(.*)$/m.exec(textOf('/proc/cpuinfo'))?.[1]?.trim() ?? ''
}

/** Where a person may name drivers for the Vulkan loader. */
const VULKAN_FILES = ['VK_DRIVER_FILES', 'VK_ICD_FILENAMES']

/** Texts that change when a card or a driver does; on macOS drivers come with the system. */
function graphicsState(): string[] {
  const loader = [...VULKAN_FILES, 'CUDA_VISIBLE_DEVICES'].map((name) => process.env[name] ?? '')
  const common = [...loader, stateOf(cudaLibrary())]
  if (platform() === 'win32') {
    return [...common, stateOf(join(process.env.SystemRoot ?? 'C:\\Windows', 'System32\\DriverStore\\FileRepository'))]
  }
  if (platform() !== 'linux') return common
  const cards = namesIn('/sys/class/drm').filter(isCard)
  const folders = ['/usr/share/vulkan/icd.d', '/etc/vulkan/icd.d']
  const drivers = [
    ...folders.flatMap((folder) => namesIn(folder).map((name) => join(folder, name))),
    ...VULKAN_FILES.flatMap((name) => process.env[name]?.split(':').filter(Boolean) ?? []),
  ]
  return [
    ...common,
    textOf('/proc/driver/nvidia/version'),
    ...cards.flatMap((card) =>
      ['vendor', 'device'].map((fact) => textOf(join('/sys/class/drm', card, 'device', fact))),
    ),
    ...drivers.flatMap((path) => [stateOf(path), stateOf(driverLibrary(path))]),
  ]
}

/** The library that a Vulkan driver's description names. */
function driverLibrary(path: string): string {
  const library = /"library_path"\s*:\s*"([^"]+)"/.exec(textOf(path))?.[1] ?? ''
  return library.includes('/')
    ? resolve(dirname(path), library)
    : join(`/usr/lib/${arch() === 'x64' ? 'x86_64' : 'aarch64'}-linux-gnu`, library)
}

/** A file by path, size and time; empty when there is none. */
function stateOf(path: string): string {
  try {
    const { size, mtimeMs } = statSync(realpathSync(path))
    return `${path} ${size} ${mtimeMs}`
  } catch {
    return ''
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).sort()
  } catch {
    return []
  }
}
