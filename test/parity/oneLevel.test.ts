import { describeParity } from './parity.ts'

describeParity('one-level')
