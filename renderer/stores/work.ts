/** What is going on: saves under way, long jobs with their cancel, and notices for the person. */
import { create } from 'zustand'

export interface Job {
  readonly id: number
  readonly kind: 'propose' | 'ask' | 'locate' | 'caption' | 'export' | 'scan' | 'undo'
  readonly imageId: number | null
  readonly title: string
  readonly note: string
  readonly done: number
  readonly total: number | null
  readonly startedAt: number
  readonly cancel: () => void
}

export interface Notice {
  readonly id: number
  readonly kind: 'error' | 'info'
  readonly text: string
  /** What one can do about it. */
  readonly action: { readonly label: string; readonly run: () => void } | null
}

export interface WorkState {
  /** Commands sent and not answered. */
  readonly pending: number
  /** Why the last command did not save; null once one has. */
  readonly saveError: string | null
  readonly jobs: readonly Job[]
  readonly notices: readonly Notice[]
  /** Said to screen readers; changes politely. */
  readonly announcement: string
}

export const useWork = create<WorkState>(() => ({
  pending: 0,
  saveError: null,
  jobs: [],
  notices: [],
  announcement: '',
}))

let nextId = 1

/** Shows a notice; errors stay until dismissed, the rest leaves by itself. The same sentence is never shown twice. */
export function notify(kind: Notice['kind'], text: string, action: Notice['action'] = null): void {
  const id = nextId++
  useWork.setState(({ notices }) => ({
    notices: [...notices.filter((notice) => notice.text !== text), { id, kind, text, action }].slice(-3),
  }))
  if (kind === 'info') setTimeout(() => dismiss(id), 6000)
}

/** Takes a notice away. */
export function dismiss(id: number): void {
  useWork.setState(({ notices }) => ({ notices: notices.filter((notice) => notice.id !== id) }))
}

/** Lists a job until {@link endJob}. */
export function beginJob(job: Omit<Job, 'id' | 'startedAt' | 'note' | 'done' | 'total'>): number {
  const id = nextId++
  useWork.setState(({ jobs }) => ({
    jobs: [...jobs, { ...job, id, note: '', done: 0, total: null, startedAt: Date.now() }],
  }))
  return id
}

/** Tells how far a job is. */
export function updateJob(id: number, change: Partial<Pick<Job, 'note' | 'done' | 'total'>>): void {
  useWork.setState(({ jobs }) => ({ jobs: jobs.map((job) => (job.id === id ? { ...job, ...change } : job)) }))
}

/** Takes a finished, failed or cancelled job off the list. */
export function endJob(id: number): void {
  useWork.setState(({ jobs }) => ({ jobs: jobs.filter((job) => job.id !== id) }))
}

/** Says something to screen readers. */
export function announce(text: string): void {
  useWork.setState({ announcement: text })
}
