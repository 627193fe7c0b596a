# library.pl: makes a shared library of the server.
#
#	perl library.pl POSTGRES LIBRARY
#
# The server is an executable that can be loaded anywhere (PIE) and exports its
# functions, as extensions need them.  All that keeps the linker from taking it
# for a library is a flag; and versions of symbols that it has copied from other
# libraries, which no library would have.  This writes a copy without them.

use strict;
use warnings;

# Of the ELF format, 64 bits, least byte first.
use constant {
	PT_DYNAMIC => 2,
	DT_FLAGS_1 => 0x6ffffffb,
	DF_1_PIE => 0x08000000,
	SHT_DYNSYM => 11,
	SHT_GNU_VERSYM => 0x6fffffff,
	VER_NDX_GLOBAL => 1,
};

my ($executable, $library) = @ARGV;
die "usage: library.pl POSTGRES LIBRARY\n" if @ARGV != 2;

open my $in, '<:raw', $executable or die "could not open $executable: $!\n";
my $elf = do { local $/; <$in> };
close $in;

die "$executable is no 64-bit ELF file\n" if substr($elf, 0, 6) ne "\x7fELF\x02\x01";
my ($type) = unpack('x16 S<', $elf);
die "$executable is not position-independent\n" if $type != 3;

my ($segments, $sections) = unpack('x32 Q< Q<', $elf);
my ($segment_size, $nsegments, $section_size, $nsections) = unpack('x54 S< S< S< S<', $elf);

# Clears the flag that says: this is an executable.
for my $i (0 .. $nsegments - 1)
{
	my ($kind, $offset, $size) = unpack('L< x4 Q< x16 Q<', substr($elf, $segments + $i * $segment_size, 56));
	next if $kind != PT_DYNAMIC;
	for (my $at = $offset; $at < $offset + $size; $at += 16)
	{
		my ($tag, $value) = unpack('Q< Q<', substr($elf, $at, 16));
		substr($elf, $at + 8, 8) = pack('Q<', $value & ~DF_1_PIE) if $tag == DT_FLAGS_1;
	}
}

# Clears the versions of symbols that are defined here.
my %section;
for my $i (0 .. $nsections - 1)
{
	my ($kind, $offset, $size) = unpack('x4 L< x16 Q< Q<', substr($elf, $sections + $i * $section_size, 64));
	$section{$kind} = [ $offset, $size ];
}
my ($symbols, $versions) = @section{ +SHT_DYNSYM, +SHT_GNU_VERSYM };
die "$executable exports no symbols\n" if !$symbols || !$versions;
for my $i (0 .. $symbols->[1] / 24 - 1)
{
	my ($defined) = unpack('x6 S<', substr($elf, $symbols->[0] + 24 * $i, 24));
	my ($version) = unpack('S<', substr($elf, $versions->[0] + 2 * $i, 2));
	substr($elf, $versions->[0] + 2 * $i, 2) = pack('S<', VER_NDX_GLOBAL)
	  if $defined && ($version & 0x7fff) > VER_NDX_GLOBAL;
}

open my $out, '>:raw', $library or die "could not create $library: $!\n";
print $out $elf;
close $out or die "could not write $library: $!\n";
