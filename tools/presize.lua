-- presize: constructors in bytecode keep room for the fields that their tables will get.
--
--   local presize = dofile "tools/presize.lua"
--   local known, why = presize.is_known()
--   prototype = presize.of(prototype)           a string, as in a dump; the same one where nothing is to be gained
--
-- LuaJIT compiles `{ name = f() }` to a copy of a template that has the key, with nil as its value; but a dump leaves
-- out what is nil, and the copy grows key by key. Here those keys come back, and with them those that are given to the
-- table further down, such as the methods of a class. `{}` gets the size of its hash part for the same reason.
--
-- A key too many costs room and nothing else: nil is what a field has that nobody has set. So the search for keys need
-- not be exact: it takes all that is stored by name into a slot until the slot gets another value.
--
-- The layout is that of lj_bcdump.h, version 2, and of lj_bc.h. What LuaJIT says of its opcodes is taken from it, and a
-- sample shows whether the rest is as it is known here.

local util = require "jit.util"
local vmdef = require "jit.vmdef"

local presize = {}

-- --- numbers ---------------------------------------------------------------------------------

---A number in ULEB128, seven bits a byte, and where the next begins.
---@param code string
---@param at integer
---@return integer value
---@return integer after
function presize.uleb(code, at)
  local value, scale = 0, 1
  while true do
    local byte = code:byte(at)
    value, at = value + byte % 128 * scale, at + 1
    if byte < 128 then return value, at end
    scale = scale * 128
  end
end

local uleb = presize.uleb

---@param value integer
---@return string
function presize.encoded(value)
  local bytes = {}
  while value >= 128 do
    bytes[#bytes + 1] = string.char(value % 128 + 128)
    value = math.floor(value / 128)
  end
  return table.concat(bytes) .. string.char(value)
end

local encoded = presize.encoded

local function skip(code, at, count)
  for _ = 1, count do
    local _, after = uleb(code, at)
    at = after
  end
  return at
end

-- --- opcodes ---------------------------------------------------------------------------------

local OP = {} -- name → number
for i = 0, #vmdef.bcnames / 6 - 1 do OP[vmdef.bcnames:sub(i * 6 + 1, i * 6 + 6):match "%S+"] = i end

-- Those that read the slot A, or have none there. All others give it another value.
local KEEPS = {}
for name in ([[ISLT ISGE ISLE ISGT ISEQV ISNEV ISEQS ISNES ISEQN ISNEN ISEQP ISNEP USETV USETS USETN USETP UCLO
  TSETV TSETS TSETB TSETM TSETR GSET JMP LOOP]]):gmatch "%S+" do
  KEEPS[OP[name] or -1] = true
end

local HASH = 2048 -- TNEW: D is the length of the array part plus this times the bits of the hash part

-- The bits of a hash part that holds so many keys (hsize2hbits of lj_tab.h).
local function bits_for(keys)
  local bits = 1
  while 2 ^ bits < keys do bits = bits + 1 end
  return keys > 0 and bits or 0
end

-- --- constants -------------------------------------------------------------------------------

local TABLE, I64, COMPLEX, STRING = 1, 2, 4, 5        -- constants of a prototype (0: another prototype)
local NIL, INTEGER, DOUBLE, TEXT = 0, 3, 4, 5         -- keys and values in the template of a table

-- A key or a value: where the next begins, and the string that it is.
local function skip_field(code, at)
  local tag, after = uleb(code, at)
  if tag >= TEXT then return after + tag - TEXT, code:sub(after, after + tag - TEXT - 1) end
  return skip(code, after, tag == INTEGER and 1 or tag == DOUBLE and 2 or 0)
end

-- The template of a table: { array, hash, narray, nhash, has }, the first two as they stand in the dump.
local function read_template(code, at)
  local template = { has = {} }
  template.narray, at = uleb(code, at)
  template.nhash, at = uleb(code, at)
  local from = at
  for _ = 1, template.narray do at = skip_field(code, at) end
  template.array, from = code:sub(from, at - 1), at
  for _ = 1, template.nhash do
    local key
    at, key = skip_field(code, at)
    at = skip_field(code, at)
    if key then template.has[key] = true end
  end
  template.hash = code:sub(from, at - 1)
  return template, at
end

local function template_text(template)
  return encoded(TABLE) .. encoded(template.narray) .. encoded(template.nhash) .. template.array .. template.hash
end

-- One constant: { text } as it stands in the dump, with `string` or `template`; and where the next begins.
local function read_constant(code, from)
  local constant, tag, at = {}, uleb(code, from)
  if tag >= STRING then
    constant.string = code:sub(at, at + tag - STRING - 1)
    at = at + tag - STRING
  elseif tag == TABLE then
    constant.template, at = read_template(code, at)
  elseif tag >= I64 then
    at = skip(code, at, tag == COMPLEX and 4 or 2)
  end
  constant.text = code:sub(from, at - 1)
  return constant, at
end

-- --- prototypes ------------------------------------------------------------------------------

-- The numbers at its beginning: how many constants and instructions, and where the instructions begin.
local function read_counts(proto)
  local constants, at = uleb(proto, 5)
  local count, debugged
  count, at = uleb(proto, skip(proto, at, 1))
  debugged, at = uleb(proto, at)
  return constants, count, debugged > 0 and skip(proto, at, 2) or at
end

local function read_code(proto, from, count)
  local code = {}
  for pc = 0, count - 1 do
    local op, a, c, b = proto:byte(from + 4 * pc, from + 4 * pc + 3)
    code[pc] = { op = op, a = a, b = b, c = c, d = c + 256 * b }
  end
  return code
end

-- A prototype in parts: what precedes the instructions, these, what is between them and the constants, these, and the
-- rest. Instructions and constants are numbered as they are referred to, from 0.
local function read_prototype(proto)
  local constant_count, count, from = read_counts(proto)
  local constants, stop = {}, from + 4 * count
  local at = stop + 2 * proto:byte(4)
  for i = constant_count - 1, 0, -1 do constants[i], at = read_constant(proto, at) end
  return {
    head = proto:sub(1, from - 1), code = read_code(proto, from, count), count = count,
    upvalues = proto:sub(stop, stop + 2 * proto:byte(4) - 1),
    constants = constants, constant_count = constant_count, rest = proto:sub(at),
  }
end

local function write_prototype(self)
  local parts = { self.head }
  for pc = 0, self.count - 1 do
    local each = self.code[pc]
    parts[#parts + 1] = string.char(each.op, each.a, each.d % 256, math.floor(each.d / 256))
  end
  parts[#parts + 1] = self.upvalues
  for i = self.constant_count - 1, 0, -1 do parts[#parts + 1] = self.constants[i].text end
  parts[#parts + 1] = self.rest
  return table.concat(parts)
end

-- --- room ------------------------------------------------------------------------------------

-- The names under which something is stored into the table that an instruction makes, in order.
local function names_stored(self, pc)
  local names, seen, slot = {}, {}, self.code[pc].a
  for i = pc + 1, self.count - 1 do
    local each = self.code[i]
    local name = each.op == OP.TSETS and each.b == slot and self.constants[each.c].string
    if name and not seen[name] then
      names[#names + 1], seen[name] = name, true
    elseif each.a == slot and not KEEPS[each.op] then
      break
    end
  end
  return names
end

-- A template gets the keys that it lacks. Two constructors may have the same one.
local function add_keys(constant, names)
  local template = constant.template
  for _, name in ipairs(names) do
    if not template.has[name] then
      template.has[name], template.nhash = true, template.nhash + 1
      template.hash = template.hash .. encoded(#name + TEXT) .. name .. encoded(NIL)
    end
  end
  constant.text = template_text(template)
end

---A prototype whose constructors keep room. It does what it did.
---@param proto string      as in a dump, without its length
---@return string
function presize.of(proto)
  local self = read_prototype(proto)
  for pc = 0, self.count - 1 do
    local each = self.code[pc]
    if each.op == OP.TDUP then
      add_keys(self.constants[each.d], names_stored(self, pc))
    elseif each.op == OP.TNEW and each.d < HASH then
      each.d = each.d + HASH * bits_for(#names_stored(self, pc))
    end
  end
  return write_prototype(self)
end

-- --- is the layout the one that is known? ----------------------------------------------------

local SAMPLE = [[
  local self, key = {}, ...
  local made = { key, 0.5, -7, plain = "text", [true] = false, [2.5] = 1e300, late = key() }
  self.one, self.two, self.three, made.later = 1, made, key, "later"
  return self, made, { [key] = 1, [self] = 2, [made] = 3 }
]]

-- The first instruction of that kind in a function, as LuaJIT itself shows it: its D.
local function operand(func, op)
  for pc = 1, util.funcinfo(func).bytecodes - 1 do
    local instruction = util.funcbc(func, pc)
    if instruction % 256 == op then return math.floor(instruction / 65536) % 65536 end
  end
end

-- A dump of one prototype with room: its header, and the prototype with its length.
local function with_room(code)
  local _, at = uleb(code, 5)
  local name
  name, at = uleb(code, at)
  at = at + name
  local size, body = uleb(code, at)
  local proto = presize.of(code:sub(body, body + size - 1))
  return code:sub(1, at - 1) .. encoded(#proto) .. proto .. "\0"
end

-- The fields of a table, in a text that does not depend on their order.
local function shown(made)
  local list = {}
  for key, value in pairs(made) do list[#list + 1] = tostring(key) .. "=" .. tostring(value) end
  table.sort(list)
  return table.concat(list, " ")
end

local function does_the_same(func)
  local function key() return "called" end
  local self, made, third = func(key)
  local expected = { key, 0.5, -7, plain = "text", [true] = false, [2.5] = 1e300, late = "called", later = "later" }
  return shown(made) == shown(expected) and shown(self) == shown { one = 1, two = made, three = key }
    and shown(third) == shown { [key] = 1, [self] = 2, [made] = 3 }
end

local function check()
  for _, name in ipairs { "TNEW", "TDUP", "TSETS" } do assert(OP[name], "there is no opcode " .. name) end
  local plain = string.dump(assert(loadstring(SAMPLE, "=sample")))
  assert(plain:sub(1, 4) == "\27LJ\2" and plain:byte(5) % 2 == 0, "another version, or another order of bytes")
  assert(#with_room(plain) > #plain, "the sample got no room")
  local func = assert(loadstring(with_room(plain)))
  assert(operand(func, OP.TNEW) == HASH * bits_for(3), "the size of a table is written in another way")
  local sized = assert(loadstring "local a, b, c = ... return { [a] = 1, [b] = 1, [c] = 1 }")
  assert(operand(sized, OP.TNEW) == operand(func, OP.TNEW), "the size of a table is written in another way")
  assert(does_the_same(func), "the sample does something else")
end

---Is the bytecode of this LuaJIT laid out as it is known here? A sample is given room and run.
---@return boolean
---@return string? why      not
function presize.is_known()
  local ok, message = pcall(check)
  return ok, not ok and tostring(message):gsub("^%S+:%d+: ", "") or nil
end

return presize
