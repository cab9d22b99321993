-- journal.lua - a page of a cell's journal, oldest first: at most so many batches, and no more once it has so many bytes.
-- KEYS journal, cell   ARGV after epoch, after n, count, bytes   answers more, owner, epoch, then id, batch of each
--
-- The owner is told in the same step: what is missing here was trimmed by an owner, and if that is still the reader, by nobody.
local after, count, bytes = text(ARGV[1]) .. '-' .. text(ARGV[2]), number(ARGV[3]), number(ARGV[4])
local owner, epoch = read_cell(KEYS[2])
local out = {0, owner, epoch}
while true do
  local entries = redis.call('XRANGE', KEYS[1], '(' .. after, '+', 'COUNT', 8)
  if #entries == 0 then
    return out
  end
  for _, entry in ipairs(entries) do
    if #out > 2 * count + 2 or bytes <= 0 then
      out[1] = 1
      return out
    end
    after, bytes = entry[1], bytes - #entry[2][2]
    out[#out + 1] = entry[1]
    out[#out + 1] = entry[2][2]
  end
end
