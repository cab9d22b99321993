-- claim.lua - become the owner of cells that nobody living owns.
-- KEYS world, my lease, then a cell each   ARGV me, lease prefix of nodes, then believed owner and floor of each
--
-- Taken when the owner is the one that the caller read, and that is nobody, the caller, or without a lease: then it is
-- (me, max(Redis, floor) + 1, 0). A late copy of the same claim believes an older owner, and changes nothing.
-- Closed: Redis restarted and its time for restoring is not over, or has not begun, as no renewal has told it yet.
-- In a fresh world a floor (the store has an epoch for the cell) proves that Redis was emptied: it closes as renew does.
local me, out = ARGV[1], {}
local w = redis.call('HMGET', KEYS[1], 'run_id', 'closed_until', 'fresh_until', 'generation')
local now, alive = now_ms(), redis.call('EXISTS', KEYS[2]) == 1
local closed = w[1] ~= run_id() or number(w[2] or 0) > now
local fresh_until = number(w[3] or 0)

for c = 1, #KEYS - 2 do
  if not closed and fresh_until > now and number(ARGV[2 * c + 2]) > 0 then
    redis.call('HSET', KEYS[1], 'generation', text(number(w[4] or 0) + 1), 'closed_until', text(fresh_until),
               'fresh_until', '0')
    closed = true
  end
end
for c = 1, #KEYS - 2 do
  local key, believed, floor = KEYS[c + 2], ARGV[2 * c + 1], number(ARGV[2 * c + 2])
  local owner, epoch, n = read_cell(key)
  if closed then
    say(out, CLOSED, owner, epoch, n)
  elseif not alive or owner ~= believed
         or (owner ~= '' and owner ~= me and redis.call('EXISTS', ARGV[2] .. owner) == 1) then
    say(out, STALE, owner, epoch, n)
  else
    epoch = math.max(epoch, floor) + 1
    write_cell(key, me, epoch, 0)
    say(out, TAKEN, me, epoch, 0)
  end
end
return out
