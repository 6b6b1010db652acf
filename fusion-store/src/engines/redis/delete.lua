return {'ok', remove(ARGV[5], ARGV[6]) and '1' or '0'}
