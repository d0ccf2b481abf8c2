#!/usr/bin/perl
# Grid'5000's commands about the network of a job, as far as execo asks them: `kavlan -j ID -V`, and `g5k-subnets -j ID -p|-i|-im|-a`.
# They read what `oarstat -pj ID` says.
use strict;
use warnings;
use Getopt::Long qw(:config bundling);

my ($job, $vlan, $all, $ips, $macs) = ($ENV{OAR_JOB_ID} || '');
GetOptions('j=s' => \$job, 'V' => \$vlan, 'a' => \$all, 'i' => \$ips, 'm' => \$macs, 'p|b|n' => \my $rest) or exit 1;
my ($name) = $0 =~ m{([^/]+)$};
$job =~ /^\d+$/ && `oarstat -sj $job` =~ /: (Running|Launching)/ or print(STDERR "$name: no job $job that runs\n"), exit 1;
my (%vlans, %subnets);
for (`oarstat -pj $job`) {
    my %of = /(\w+) = '([^']*)'/g;
    $vlans{$of{vlan}} = 1 if $of{type} =~ /^kavlan/;
    $subnets{$of{subnet_address}} = $of{subnet_prefix} if $of{type} eq 'subnet';
}
if ($name eq 'kavlan') {
    print "no vlan found\n" and exit 1 unless %vlans;
    print "$_\n" for sort { $a <=> $b } keys %vlans;
    exit 0;
}
sub number { my @bytes = split /\./, shift; return ($bytes[0] << 24) + ($bytes[1] << 16) + ($bytes[2] << 8) + $bytes[3] }
sub text { my $n = shift; return join '.', map { ($n >> $_) & 255 } 24, 16, 8, 0 }
open(my $file, '<', '/etc/site') or die "$name: $!\n";
my ($site) = <$file> =~ m{(\S+)};
for my $address (sort { number($a) <=> number($b) } keys %subnets) {
    my ($first, $prefix) = (number($address), $subnets{$address});
    my $whole = $first & ~((1 << 18) - 1);      # each site's subnets are part of a /14, of which the last address is the gateway
    my $last = $whole + (1 << 18) - 1;
    if ($all) {
        print join("\t", "$address/$prefix", text($last), '255.252.0.0', text($last - 1), text($whole), "dns.$site.grid5000.fr", text($last - 2)), "\n";
    } elsif ($ips) {
        for my $n ($first .. $first + (1 << (32 - $prefix)) - 1) {
            next if ($n & 255) == 0 || ($n & 255) == 255;
            print text($n), $macs ? sprintf("\t00:16:3E:%02X:%02X:%02X", ($n >> 16) & 255, ($n >> 8) & 255, $n & 255) : '', "\n";
        }
    } else {
        print "$address/$prefix\n";
    }
}
