#!/bin/sh
echo GUEST-POWER-BUTTON > /dev/console
sync
poweroff -f
