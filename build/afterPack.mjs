/**
 * Sets Electron's fuses in the packed binary, before it is signed. A fuse that a later Electron adds stops the packaging
 * until someone has decided about it (strictlyRequireAllFuses).
 */
import { join } from 'node:path'

/** Fuse by fuse, by the names of @electron/fuses' FuseV1Options. */
export const fuses = {
  RunAsNode: false,
  EnableCookieEncryption: true,
  EnableNodeOptionsEnvironmentVariable: false,
  EnableNodeCliInspectArguments: false,
  EnableEmbeddedAsarIntegrityValidation: true,
  OnlyLoadAppFromAsar: true,
  LoadBrowserProcessSpecificV8Snapshot: false,
  GrantFileProtocolExtraPrivileges: false,
  WasmTrapHandlers: true,
}

/** The file that holds the fuses, by electron-builder's platform name. */
export function fusedBinary({ electronPlatformName, appOutDir, packager }) {
  const { productFilename } = packager.appInfo
  if (electronPlatformName === 'darwin' || electronPlatformName === 'mas')
    return join(appOutDir, `${productFilename}.app`, 'Contents', 'MacOS', productFilename)
  if (electronPlatformName === 'win32') return join(appOutDir, `${productFilename}.exe`)
  return join(appOutDir, packager.executableName)
}

export default async function afterPack(context) {
  const { flipFuses, getCurrentFuseWire, FuseState, FuseV1Options, FuseVersion } = await import('@electron/fuses')
  const unknown = Object.keys(fuses).filter((name) => FuseV1Options[name] === undefined)
  if (unknown.length > 0) throw new Error(`@electron/fuses 2.1 or later is needed: ${unknown.join(', ')} unknown.`)

  const binary = fusedBinary(context)
  const byNumber = Object.fromEntries(Object.entries(fuses).map(([name, on]) => [FuseV1Options[name], on]))
  await flipFuses(binary, {
    version: FuseVersion.V1,
    strictlyRequireAllFuses: true,
    // Changing the binary voids the signature without which Apple silicon does not start it.
    resetAdHocDarwinSignature: context.electronPlatformName === 'darwin',
    ...byNumber,
  })

  const wire = await getCurrentFuseWire(binary)
  const wrong = Object.entries(fuses).filter(
    ([name, on]) => wire[FuseV1Options[name]] !== (on ? FuseState.ENABLE : FuseState.DISABLE),
  )
  if (wrong.length > 0) throw new Error(`Fuses not set in ${binary}: ${wrong.map(([name]) => name).join(', ')}`)
}
