/** Long work: one place that lists a job, tells its progress, cancels it and says what went wrong. */
import type { Input, JobName, Output, ProgressOf } from '../../electron/contract/api.ts'
import { client } from '../client.ts'
import { beginJob, endJob, type Job, notify, updateJob, useWork } from '../stores/work.ts'
import { errorText, isCancelled } from './save.ts'

/**
 * Runs a job of the contract under a cancel button.
 * @param isMoot whether nobody wants its result any more, so that a failure is not worth a notice
 * @returns its result; undefined when it was cancelled or failed (then a notice says why)
 */
export async function runJob<K extends JobName>(
  name: K,
  input: Input<K>,
  job: Pick<Job, 'kind' | 'imageId' | 'title'>,
  onProgress: (
    progress: ProgressOf<K>,
    update: (change: Partial<Pick<Job, 'note' | 'done' | 'total'>>) => void,
  ) => void,
  isMoot: () => boolean = () => false,
): Promise<Output<K> | undefined> {
  const abort = new AbortController()
  const id = beginJob({ ...job, cancel: () => abort.abort() })
  try {
    return await client().run(name, input, {
      signal: abort.signal,
      onProgress: (progress) => onProgress(progress, (change) => updateJob(id, change)),
    })
  } catch (error) {
    if (!isCancelled(error) && !abort.signal.aborted && !isMoot()) notify('error', errorText(error))
    return undefined
  } finally {
    endJob(id)
  }
}

/** The running job of a kind, on an image if one is named. */
export function jobOf(kind: Job['kind'], imageId?: number): Job | undefined {
  return useWork.getState().jobs.find((job) => job.kind === kind && (imageId === undefined || job.imageId === imageId))
}
