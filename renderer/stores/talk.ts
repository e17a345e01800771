/** The answer under way and the draft in the box. */
import { create } from 'zustand'

export interface TalkState {
  readonly draft: string
  readonly running: {
    readonly imageId: number
    readonly question: string
    /** Visible text so far. */
    readonly text: string
    readonly note: string
  } | null
}

export const useTalk = create<TalkState>(() => ({ draft: '', running: null }))
