/** The engine in this process, opened as the application's process opens it. */
import { GromaEngine } from '../../native-models/inference/engine.ts'
import { laidOutFor } from './engineChild.ts'

/** With weights laid out for this machine and all graphs opened; large models give memory back that they rarely need. */
export async function openAsApplication(
  modelDir: string,
  onLog: (line: string) => void = () => {},
): Promise<GromaEngine> {
  const prepackedDir = await laidOutFor(modelDir)
  const engine = await GromaEngine.open(modelDir, { prepackedDir, deferred: prepackedDir !== null, onLog })
  await engine.openRest()
  return engine
}
