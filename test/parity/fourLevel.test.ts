import { describeParity } from './parity.ts'

describeParity('four-level')
