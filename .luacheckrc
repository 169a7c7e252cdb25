std = "luajit"
max_line_length = 120
cache = false

-- A field or method that does not exist is found by the specs; an unused argument documents a signature.
unused_args = false

files["spec"].std = "luajit+busted"
files["examples/**/*_spec.lua"].std = "luajit+busted"

-- An interface for editors, never loaded: functions without bodies.
files["lua/luapilot/port.lua"].ignore = { "21." }
files["lua/luapilot/api/library.lua"].ignore = { "21.", "241", "631" }
files["lua/luapilot/consul/library.lua"].ignore = { "21.", "241", "631" }

-- The rockspec and this file assign globals because their formats are made of them.
files["*.rockspec"].std = "rockspec"
files[".luacheckrc"].std = "luacheckrc"
files[".busted"].std = "luajit"
