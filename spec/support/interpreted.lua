-- interpreted: what busted runs before all specs (.busted says so): the JIT compiler off, what it compiled dropped.
--
-- Specs run the core as the program does, and meters that count by a hook see every instruction. With the compiler of
-- Debian 12 on, a spec fails now and then whose code is right: see lua/luapilot/sim/contain.lua.

jit.off()
jit.flush()
