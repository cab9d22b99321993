-- lib.lua - stands in front of every script: numbers, cells and leases.
--
-- Owners are 16 hex digits, compared as text; '' is nobody. Epochs and batch numbers are compared as numbers, never as
-- text. A Lua number is a double: exact below 2^53, so anything at or above that is refused before it is compared.
local STOP = 9007199254740992
local TAKEN, BEFORE, STALE, BEHIND, CLOSED, BUSY = 1, 2, 3, 4, 5, 6

local function number(text)
  local v = tonumber(text)
  if not v or v < 0 or v >= STOP or v ~= math.floor(v) then
    error('not a whole number below 2^53: ' .. tostring(text))
  end
  return v
end

local function text(v) -- tostring() would round above 10^14
  return string.format('%.0f', number(v))
end

-- owner, epoch, n of a cell; '', 0, 0 when there is none.
local function read_cell(key)
  local c = redis.call('HMGET', key, 'owner', 'epoch', 'n')
  if not c[1] then
    return '', 0, 0
  end
  return c[1], number(c[2]), number(c[3])
end

local function write_cell(key, owner, epoch, n)
  redis.call('HSET', key, 'owner', owner, 'epoch', text(epoch), 'n', text(n))
end

-- Does Redis know the cell as mine under epoch? nil: yes. STALE: somebody else came after me. BEHIND: Redis went back.
local function not_mine(owner, epoch, me, my_epoch)
  if owner == '' or epoch < my_epoch then
    return BEHIND
  end
  if epoch > my_epoch or owner ~= me then
    return STALE
  end
  return nil
end

local function now_ms()
  local t = redis.call('TIME')
  return tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
end

local function run_id()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or error('INFO tells no run_id')
end

-- One cell's part of an answer.
local function say(out, answer, owner, epoch, n, alive)
  out[#out + 1] = answer
  out[#out + 1] = owner
  out[#out + 1] = epoch
  out[#out + 1] = n
  out[#out + 1] = alive or 0
end

-- names: '<gate> <session> <place>'. Is it that session's?
local function held_by(value, gate, session)
  local g, s = string.match(value, '^(%x+) (%d+) ')
  return g == gate and s == session
end

local function gate_lives(prefix, value)
  local g = string.match(value, '^(%x+) ')
  return g and redis.call('EXISTS', prefix .. g) == 1
end
