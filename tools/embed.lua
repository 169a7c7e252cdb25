-- Compiles Lua files to bytecode and writes them as a C file; src/embedded.h says what for.
--
--   luajit tools/embed.lua build/embedded.c lua/luapilot/init.lua lua/luapilot/job/machine.lua ...
--
-- A file that begins with ---@meta is documentation for editors and stays out.

local out = table.remove(arg, 1)

local function fail(message)
  io.stderr:write("tools/embed.lua: ", message, "\n")
  os.exit(1)
end

local function slurp(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

-- --- bytecode without names ------------------------------------------------------------------
--
-- string.dump keeps all that a debugger wants, or nothing. Tracebacks need the lines; the names of locals and upvalues,
-- half of it, would only cost each pilot memory. The format is that of lj_bcdump.h, version 2:
--
--   header: ESC "LJ" version, flags, length and bytes of the chunk's name
--   prototypes, each: length; flags, parameters, frame, upvalues; constants, numbers, instructions, debug information
--   (counts), first line, lines; …; the debug information: lines of the instructions, names of upvalues, of locals
--   0

local HEADER, VERSION, STRIPPED = "\27LJ", 2, 2

local presize = dofile((arg[0]:match "^(.*/)" or "") .. "presize.lua")
local uleb, encoded = presize.uleb, presize.encoded

-- One prototype. Upvalues without names would be a lie to LuaJIT: they are called "?".
local function without_names(proto)
  local upvalues, counts, at = proto:byte(4), {}, 5
  for i = 1, 4 do counts[i], at = uleb(proto, at) end
  local instructions, debugged = counts[3], counts[4]
  if debugged == 0 then return proto end
  local _, after = uleb(proto, at)
  local lines = uleb(proto, after)
  local width = lines < 256 and 1 or lines < 65536 and 2 or 4
  local info = proto:sub(-debugged):sub(1, instructions * width) .. ("?\0"):rep(upvalues) .. "\0"
  local head = proto:sub(1, 4) .. encoded(counts[1]) .. encoded(counts[2]) .. encoded(instructions) .. encoded(#info)
  return head .. proto:sub(at, -debugged - 1) .. info
end

-- Bytecode that is laid out in another way is left as it is: it works, and costs a little more.
local known, why = presize.is_known()
local with_room = known and presize.of or function(proto) return proto end
if not known then
  io.stderr:write("tools/embed.lua: constructors keep no room for their fields: ", why, "\n")
end

local function slim(code)
  local flags, at = uleb(code, 5)
  if code:sub(1, 3) ~= HEADER or code:byte(4) ~= VERSION or flags % (2 * STRIPPED) >= STRIPPED then
    fail "this LuaJIT writes bytecode in a format that is not known here"
  end
  local name
  name, at = uleb(code, at)
  local parts = { code:sub(1, at + name - 1) }
  at = at + name
  while true do
    local size
    size, at = uleb(code, at)
    if size == 0 then break end
    local proto = with_room(without_names(code:sub(at, at + size - 1)))
    parts[#parts + 1] = encoded(#proto) .. proto
    at = at + size
  end
  return table.concat(parts) .. "\0"
end

-- The name in tracebacks is the path without the directory it happens to lie in.
local function compile(text, label)
  local chunk, message = loadstring(text, "@" .. label)
  if not chunk then fail(message) end
  return slim(string.dump(chunk))
end

local modules = {}

for _, path in ipairs(arg) do
  local text  = slurp(path)
  local label = path:gsub("^lua/", "")
  if not text:find "^%-%-%-@meta" then
    local name = label:gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
    table.insert(modules, { name = name, code = compile(text, label) })
  end
end

-- The command line's parser comes from the system, so that the program needs none where it runs.
local argparse = package.searchpath("argparse", package.path)
if not argparse then fail "argparse is missing: install the Debian package lua-argparse" end
table.insert(modules, { name = "argparse", code = compile(slurp(argparse), "argparse.lua") })

table.sort(modules, function(a, b) return a.name < b.name end)

-- String literals of octal escapes: gcc reads them an order of magnitude faster than lists of numbers.
-- Always three digits, or a digit that follows would join in.
local escaped = {}
for byte = 0, 255 do escaped[string.char(byte)] = ("\\%03o"):format(byte) end

local file = assert(io.open(out, "wb"))
file:write '/* Made by tools/embed.lua. */\n\n#include "embedded.h"\n\n'
file:write "const unsigned char embedded_code[] __attribute__((aligned(EMBEDDED_PAGE))) =\n"
for _, module in ipairs(modules) do
  for first = 1, #module.code, 64 do
    file:write('"', (module.code:sub(first, first + 63):gsub(".", escaped)), '"\n')
  end
end
file:write ";\n\nconst struct embedded_module embedded_modules[] = {\n"
local offset = 0
for _, module in ipairs(modules) do
  file:write(('  {"%s", %d, %d},\n'):format(module.name, offset, #module.code))
  offset = offset + #module.code
end
file:write(("};\n\nconst size_t embedded_count = %d;\nconst size_t embedded_size = %d;\n"):format(#modules, offset))
assert(file:close())
