#!/bin/sh
case $1 in
bound | renew)
    ifconfig "$interface" "$ip" netmask "$subnet" up
    echo "GUEST-IP $interface $ip" > /dev/console
    ;;
esac
